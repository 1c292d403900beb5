"""The folder of a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jenga.errors import SetupError
from jenga.files import atomic_folder, damage
from jenga.trainer.run import MetricsLog, RunFolder

HOLD = """
import sys
from pathlib import Path
from jenga.trainer.run import RunFolder
run = RunFolder(Path(sys.argv[1]))
run.hold()
print("held", flush=True)
sys.stdin.read()
"""


def create(parent: Path, digest: str = "d", **fields: str) -> RunFolder:
    run = RunFolder.create(parent, "p", {"digest": digest})
    run.update(**fields)
    run.release()
    return run


def test_a_new_run_is_named_by_the_time_and_says_what_it_is(tmp_path: Path) -> None:
    run = create(tmp_path)
    assert run.path.parent == tmp_path / "p"
    assert {key: run.info()[key] for key in ("status", "digest", "format")} == {
        "status": "running",
        "digest": "d",
        "format": 1,
    }


def test_runs_of_the_same_second_have_names_of_their_own(tmp_path: Path) -> None:
    assert len({create(tmp_path).path for _ in range(3)}) == 3


def test_a_run_is_made_where_it_is_asked_for_but_in_no_folder_that_is_there(tmp_path: Path) -> None:
    run = RunFolder.make(tmp_path / "study" / "trial-000", {"digest": "d"})
    assert run.info()["digest"] == "d"
    run.release()
    with pytest.raises(FileExistsError):
        RunFolder.make(run.path, {})


def test_a_place_that_cannot_be_written_is_a_setup_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="output_dir: cannot make"):
        RunFolder.create(tmp_path / "file", "p", {})


def test_update_keeps_the_other_fields(tmp_path: Path) -> None:
    run = create(tmp_path, status="failed", reason="é")
    run.update(status="finished")
    assert (run.info()["status"], run.info()["reason"]) == ("finished", "é")


def test_unfinished_runs_are_found_the_newest_first(tmp_path: Path) -> None:
    assert RunFolder.unfinished(tmp_path, "p") == []
    old, newer = create(tmp_path, status="interrupted"), create(tmp_path, status="failed")
    create(tmp_path, status="finished")
    assert [run.path for run in RunFolder.unfinished(tmp_path, "p")] == [newer.path, old.path]
    newer.update(status="finished")
    assert [run.path for run in RunFolder.unfinished(tmp_path, "p")] == [old.path]


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    """A crash may come between making a folder and writing its status."""
    (tmp_path / "p" / "2999-01-01_00-00-00").mkdir(parents=True)
    assert RunFolder.unfinished(tmp_path, "p") == []


def test_a_run_in_use_by_another_process_is_refused_until_that_ends(tmp_path: Path) -> None:
    run = create(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SetupError, match=f"{run.path} is in use by another process"):
            run.hold()
        other.kill()
        other.wait()
    run.hold()
    run.release()


def test_a_released_run_can_be_held_again_in_the_same_process(tmp_path: Path) -> None:
    run = create(tmp_path)
    first, second = RunFolder(run.path), RunFolder(run.path)
    first.hold()
    with pytest.raises(SetupError, match="in use"):
        second.hold()
    first.release()
    second.hold()
    second.release()


def test_a_fork_that_outlives_the_process_does_not_keep_the_run(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "p", {})
    reading, writing = os.pipe()
    begun, began = os.pipe()
    fork = os.fork()
    if fork == 0:
        os.write(began, b".")
        os.read(reading, 1)
        os._exit(0)
    try:
        os.read(begun, 1)
        with pytest.raises(SetupError, match="in use"):
            RunFolder(run.path).hold()
        run.release()
        again = RunFolder(run.path)
        again.hold()
        again.release()
    finally:
        os.write(writing, b".")
        os.waitpid(fork, 0)
        os.close(reading)
        os.close(writing)


def test_holding_mends_a_best_model_that_a_crash_left_aside(tmp_path: Path) -> None:
    run = create(tmp_path)
    with atomic_folder(run.best) as staging:
        (staging / "a.txt").write_text("a")
    run.best.rename(run.path / ".best.old")
    (run.path / ".best.new").mkdir()
    run.hold()
    run.release()
    assert (run.best / "a.txt").read_text() == "a"
    assert not list(run.path.glob(".best.*"))


def test_records_are_lines_and_can_be_cut_back(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1, "name": "é"})
    length = log.sync()
    log.append({"step": 2})
    assert length < log.sync() == (tmp_path / "metrics.jsonl").stat().st_size
    again = MetricsLog(tmp_path / "metrics.jsonl")
    again.cut(length)
    again.append({"step": 3})
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "name": "é"}, {"step": 3}]


def test_a_half_written_last_line_is_cut_away(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1})
    length = log.sync()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    log.cut(length)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_records_that_are_gone_are_told_and_leave_no_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1})
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    log.cut(1000)
    log.append({"step": 2})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
    assert "records of earlier steps are lost" in caplog.text


def test_what_json_does_not_have_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.cut(0)
    with pytest.raises(ValueError, match="JSON compliant"):
        log.append({"loss": float("nan")})
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def renew(run: RunFolder, step: int, *, known: int | None) -> None:
    def write(folder: Path) -> None:
        with atomic_folder(folder) as staging:
            for name in ("a.txt", "b.txt"):
                (staging / name).write_text(str(step))

    run.renew_best(write, known=known)


def now(run: RunFolder) -> int:
    assert damage(run.best) is None
    return int((run.best / "a.txt").read_text())


def test_the_best_model_that_a_checkpoint_knows_can_be_brought_back(tmp_path: Path) -> None:
    run = create(tmp_path)
    renew(run, 1, known=None)
    run.revert_best(None)
    assert now(run) == 1, "no checkpoint knew an earlier one"
    run.settle_best()
    renew(run, 2, known=1)
    renew(run, 3, known=2)
    assert now(run) == 3
    run.revert_best(1)
    assert now(run) == 1
    renew(run, 4, known=1)
    run.settle_best()
    run.revert_best(4)
    assert now(run) == 4
    assert not list(run.path.glob(".best.*"))
    run.release()


def test_a_best_model_whose_checkpoint_was_saved_as_the_process_died_stays(tmp_path: Path) -> None:
    run = create(tmp_path)
    renew(run, 1, known=None)
    renew(run, 2, known=1)
    (run.path / ".best.renewed").mkdir()  # one that was written as another process died
    run.revert_best(2)
    assert now(run) == 2
    assert not list(run.path.glob(".best.*"))
    run.release()


@pytest.mark.parametrize("known", [1, 2])
def test_a_process_that_dies_as_an_earlier_model_is_deleted_leaves_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    run = create(tmp_path)
    renew(run, 1, known=None)
    renew(run, 2, known=1)

    def dies(path: Path, **_: bool) -> None:
        if path.exists():
            (path / "a.txt").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", dies)
        with pytest.raises(KeyboardInterrupt):
            run.settle_best()
    run.revert_best(known)
    assert now(run) == 2
    run.settle_best()
    assert not list(run.path.glob(".best.*"))
    run.release()


@pytest.mark.parametrize("text", ["", "[]", "null", '{"status": "runn'])
def test_a_harmed_run_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    whole, harmed = create(tmp_path), create(tmp_path)
    assert harmed.path.name > whole.path.name
    (harmed.path / "run.json").write_text(text)
    assert [run.path for run in RunFolder.unfinished(tmp_path, "p")] == [whole.path]
    assert f"{harmed.path} is passed over: harmed: {harmed.path / 'run.json'}: " in caplog.text


def test_a_run_whose_run_json_is_gone_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = create(tmp_path)
    run.checkpoints.mkdir()
    (run.path / "run.json").unlink()
    assert RunFolder.unfinished(tmp_path, "p") == []
    assert f"{run.path} is passed over: {run.path / 'run.json'}: cannot be read (No such file" in caplog.text


def test_how_a_run_ended_is_noted_where_there_is_no_room_for_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = create(tmp_path, reason="", rows="é" * 50)
    before = run.path.joinpath("run.json").stat()

    def full(path: Path, text: str) -> None:
        raise SetupError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("jenga.trainer.run.write_atomic", full)
    run.end("interrupted", "why")
    after = run.path.joinpath("run.json").stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size), "it took no room"
    assert (run.info()["status"], run.info()["rows"]) == ("interrupted", "é" * 50)
    assert "No space left on device" in caplog.text


def test_metrics_that_find_no_room_name_their_file() -> None:
    with pytest.raises(SetupError, match=r"/dev/full: cannot be written \(No space left on device\); free some"):
        MetricsLog(Path("/dev/full")).append({"step": 1})
