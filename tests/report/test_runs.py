from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.report import runs
from jenga.report.runs import find_runs, is_held, last_records, run_line, shown_time, this_machine


def make(folder: Path, name: str, **info: Any) -> Path:
    run = folder / name
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"status": "finished", **info}))
    return run


def test_runs_are_found_wherever_one_points_to_and_the_newest_comes_first(tmp_path: Path) -> None:
    old, new = make(tmp_path / "out", "one/2030-01-01"), make(tmp_path / "out", "two/2030-02-01")
    make(new, "best")
    (tmp_path / "out" / ".hidden" / "x").mkdir(parents=True)
    assert find_runs(tmp_path / "out") == [new, old], "and no run within a run"
    assert find_runs(tmp_path / "out" / "one") == find_runs(old) == [old]
    assert find_runs(tmp_path) == [new, old]
    with pytest.raises(DataError, match="no such folder"):
        find_runs(tmp_path / "gone")


def test_a_line_tells_of_the_best_model_once_it_is_judged_and_of_the_newest_evaluation_before(tmp_path: Path) -> None:
    given = {"evaluation": {"metric": "eval_QA_f1"}}
    run = make(tmp_path, "p/r", given=given, rows={"train": 24}, created="2030-01-02T03:04:05.6+00:00", seconds=1.5)
    assert run_line(run, within=tmp_path).value is None
    records = [
        {"event": "eval", "step": 5, "metrics": {"eval_QA_f1": 0.5}},
        {"event": "train", "step": 7, "time_s": 9.0},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records) + '{"event": "tr')
    line = run_line(run, within=tmp_path)
    assert (line.name, line.steps, line.metric, line.value) == ("p/r", 7, "eval_QA_f1", 0.5)
    assert (line.rows, line.seconds, shown_time(line.created)) == (24, 1.5, "2030-01-02 03:04:05")
    splits = {"valid": {"metrics": {"QA_f1": 0.75}}}
    (run / "evaluation.json").write_text(json.dumps({"splits": splits}))
    assert run_line(run, within=tmp_path).value == 0.75
    json.dumps(line.as_json(), allow_nan=False)
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "metric": "eval_score"}))
    assert run_line(run, within=tmp_path).metric == "eval_score"


@pytest.mark.parametrize("content", ["{", "[]", '{"given": 3}', '{"rows": [], "given": {"evaluation": 7}}'])
def test_a_run_that_is_harmed_is_listed_and_hides_no_other(tmp_path: Path, content: str) -> None:
    run = make(tmp_path, "r")
    (run / "run.json").write_text(content)
    assert run_line(run, within=tmp_path).status == "run.json is harmed"


def test_a_run_that_no_process_has_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path, "r", status="running", machine=this_machine())
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        node, device = os.fstat(lock.fileno()).st_ino, os.fstat(lock.fileno()).st_dev
        major, minor = os.major(device), os.minor(device)
        listed = tmp_path / "locks"
        monkeypatch.setattr(runs, "_LOCKS", listed)
        assert is_held(run) is None, "a system that lists no locks says nothing"
        assert run_line(run, within=tmp_path).status == "running"
        listed.write_text(f"1: FLOCK  ADVISORY  WRITE 1 {major:02x}:{minor:02x}:{node} 0 EOF\n2: ->\n")
        assert run_line(run, within=tmp_path).status == "running"
        listed.write_text(f"1: FLOCK  ADVISORY  WRITE 1 00:1c:{node} 0 EOF\n")
        assert run_line(run, within=tmp_path).status == "running", "as btrfs lists it"
    listed.write_text(f"1: FLOCK  ADVISORY  WRITE 1 {major:02x}:{minor:02x}:1{node} 0 EOF\n")
    assert run_line(run, within=tmp_path).status == "stopped"


def test_a_lock_of_a_file_of_the_same_number_on_another_disk_is_not_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".lock").touch()
    fields = list((tmp_path / ".lock").stat())
    fields[1], fields[2] = 77, os.makedev(8, 17)
    monkeypatch.setattr(Path, "stat", lambda path: os.stat_result(fields))
    monkeypatch.setattr(runs, "_LOCKS", tmp_path / "locks")
    for device, held in (("08:11", True), ("08:01", False)):
        (tmp_path / "locks").write_text(f"1: FLOCK  ADVISORY  WRITE 1 {device}:77 0 EOF\n")
        assert is_held(tmp_path) == held


def test_what_another_machine_began_is_not_called_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locks").touch()
    monkeypatch.setattr(runs, "_LOCKS", tmp_path / "locks")
    for name, machine, status in (
        ("here", this_machine(), "stopped"),
        ("there", {**this_machine(), "host": "gpu-7"}, "running (on gpu-7)"),
        ("unsaid", None, "running"),
    ):
        run = make(tmp_path, name, status="running", machine=machine)
        (run / ".lock").touch()
        assert run_line(run, within=tmp_path).status == status
    monkeypatch.setattr(runs, "is_held", lambda run: True)
    before = make(tmp_path, "before", status="running", machine={**this_machine(), "boot": "another"})
    assert run_line(before, within=tmp_path).status == "stopped", "the machine was started anew since"


def test_of_a_long_log_the_end_alone_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_TAIL", 200)
    lines = [json.dumps({"event": "train", "step": step}) for step in range(1000)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert last_records(tmp_path) == {"train": {"event": "train", "step": 999}}
