"""Runs whose batches other processes make: each is the run without them, and leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import seeds
import soundfile
from PIL import Image
from tones import RATE, tone

from jenga.callbacks import BaseCallback
from jenga.errors import InterruptedRun, SetupError
from jenga.modalities.audio.encoder import AudioEncoder
from jenga.modalities.vision.encoder import Pictures
from jenga.run.experiment import train
from jenga.trainer.run import RunFolder

pytestmark = pytest.mark.usefixtures("without_report")

JENGA = [sys.executable, "-c", "from jenga.cli.main import main; main()"]
DRIVER = Path(__file__).with_name("crash_driver.py")
ROWS = 60
BAD = 7


def write_sound(folder: Path) -> None:
    for at in range(ROWS):
        soundfile.write(folder / f"{at}.wav", tone(1500 if at % 2 else 200, 0.3 + at % 5 / 10), RATE)
    (folder / f"{BAD}.wav").write_bytes(b"no sound")


def write_pictures(folder: Path) -> None:
    draw = np.random.default_rng(seeds.derived("pictures"))
    for at in range(ROWS):
        values = draw.integers(0, 120, (16, 16, 3)) + 100 * (at % 2)
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{at}.png")
    (folder / f"{BAD}.png").write_bytes(b"no picture")


KINDS: dict[str, tuple[Callable[[Path], None], str, dict[str, Any]]] = {
    "audio": (write_sound, "wav", {"time_share": 0.3}),
    "vision": (write_pictures, "png", {"shift": 2, "erase": 0.5}),
}


@pytest.fixture(params=sorted(KINDS))
def experiment(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_whisper: Callable[..., Path],
    make_vit: Callable[..., Path],
) -> dict[str, Any]:
    """Rows of one kind of media, changed in training, of which one is bad."""
    kind = request.param
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write, ending, augment = KINDS[kind]
    write(tmp_path)
    column = {"audio": "audio", "vision": "image"}[kind]
    rows = [{"id": str(at), column: f"{at}.{ending}", "label": "ab"[at % 2]} for at in range(ROWS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = str(make_whisper() if kind == "audio" else make_vit())
    return {
        "project_name": "ahead",
        "model": {"backbone_type": kind, "base_model": model, "augment": augment},
        "tasks": [{"name": "kind", "type": "classification", "data_path": str(tmp_path / "rows.jsonl")}],
        "training": {"max_steps": 20, "batch_size": 4, "gradient_accumulation_steps": 2, "log_every_steps": 1},
        "evaluation": {"every_steps": 6}, "checkpoint": {"every_steps": 4},
        "data": {"max_bad_fraction": 0.1},
        "tracking": {"enabled": False},
        "output_dir": str(tmp_path / "runs"),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    left = [each for each in set(psutil.Process().children(recursive=True)) - before if each.is_running()]
    assert [each for each in left if each.status() != psutil.STATUS_ZOMBIE] == []


def with_workers(experiment: dict[str, Any], workers: int | None) -> dict[str, Any]:
    return {**experiment, "data": {**experiment["data"], "workers": workers}}


def log(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in each.items() if key != "time_s"} for each in records]


def assert_equal_runs(one: Path, other: Path) -> None:
    assert len(log(one)) > 10
    assert log(one) == log(other)
    assert (one / "evaluation.json").read_bytes() == (other / "evaluation.json").read_bytes()
    assert (one / "quarantine.jsonl").read_bytes() == (other / "quarantine.jsonl").read_bytes()


class StopAt(BaseCallback):
    """Interrupts at a step, as Ctrl-C does."""

    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        if trainer.state.step == 9:
            signal.raise_signal(signal.SIGINT)


def test_a_run_is_the_same_whoever_makes_its_batches_resumed_or_not(
    experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, plain = (
        train({**with_workers(experiment, 0), "model": model, "output_dir": str(tmp_path / name)}, device="cpu").run
        for name, model in (("alone", experiment["model"]), ("plain", {**experiment["model"], "augment": None}))
    )
    assert log(alone)[1] != log(plain)[1], "rows are changed in training"
    (bad,) = [json.loads(line) for line in (alone / "quarantine.jsonl").read_text().splitlines()]
    assert bad["row"] == BAD + 1
    assert bad["file"].endswith("rows.jsonl")
    assert "it is no" in bad["reason"]
    for workers in (1, 2):
        ahead = {**with_workers(experiment, workers), "output_dir": str(tmp_path / f"with {workers}")}
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache {workers}"))
        assert_equal_runs(train(ahead, device="cpu").run, alone)
    # Begun with two of them and gone on with without, in the middle of an epoch.
    with pytest.raises(InterruptedRun, match="interrupted at step 9"):
        train(with_workers(experiment, 2), device="cpu", callbacks=[StopAt()])
    assert_equal_runs(train(with_workers(experiment, 0), device="cpu", resume="auto").run, alone)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["audio"], indirect=True)
def test_a_run_killed_and_resumed_equals_one_that_was_not(experiment: dict[str, Any], tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    experiment["training"]["max_steps"] = 12
    deaths = [[signal.SIGKILL, "write", 60]]
    plan.write_text(json.dumps({"config": with_workers(experiment, 2), "folder": str(tmp_path), "deaths": deaths}))
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(plan)], env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=900,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["codes"] == [-signal.SIGKILL], done.stderr
    assert found["straight"]["code"] == found["struck"]["code"] == 0, done.stderr
    assert_equal_runs(Path(found["struck"]["run"]), Path(found["straight"]["run"]))


@pytest.mark.parametrize("experiment", ["vision"], indirect=True)
@pytest.mark.parametrize("harm", ["error", "killed"])
def test_a_process_that_fails_in_training_ends_the_run_with_its_reason(
    experiment: dict[str, Any], monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    real, parent = Pictures.changed, os.getpid()

    def changed(self: Pictures, *given: Any) -> Any:
        # Each process counts by itself.
        self.seen = getattr(self, "seen", 0) + 1  # type: ignore[attr-defined]
        if os.getpid() != parent and self.seen > 5:  # type: ignore[attr-defined]
            if harm == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise SetupError("the disk is gone")
        return real(self, *given)

    monkeypatch.setattr(Pictures, "changed", changed)
    words = {"error": "^the disk is gone$", "killed": "was ended by the system, most likely for want of memory"}[harm]
    with pytest.raises(SetupError, match=words):
        train(with_workers(experiment, 2), device="cpu")
    (run,) = Path(experiment["output_dir"]).glob("*/*")
    assert RunFolder(run).info()["status"] == "failed"
    monkeypatch.undo()
    assert train(with_workers(experiment, 2), device="cpu", resume="auto").run == run


@pytest.mark.parametrize("experiment", ["audio"], indirect=True)
def test_a_process_that_is_killed_as_rows_are_read_ends_the_run_before_it_has_a_folder(
    experiment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, parent = AudioEncoder._features, os.getpid()

    def features(self: AudioEncoder, clip: Any) -> Any:
        if os.getpid() != parent and int(Path(clip.media.name).stem) % 9 == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, clip)

    monkeypatch.setattr(AudioEncoder, "_features", features)
    monkeypatch.setattr("jenga.ahead._ROWS_A_TIME", 4)
    with pytest.raises(SetupError, match=r"was ended by the system.*lower data\.workers"):
        train(with_workers(experiment, 2), device="cpu")
    assert not list(Path(experiment["output_dir"]).glob("*/*"))


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("experiment", ["vision"], indirect=True)
def test_ctrl_c_in_a_terminal_saves_the_run_and_ends_every_process(experiment: dict[str, Any], tmp_path: Path) -> None:
    """The terminal sends it to all processes of the run at once."""
    experiment["training"]["max_steps"] = 5000
    (tmp_path / "c.json").write_text(json.dumps(with_workers(experiment, 2)))
    process = subprocess.Popen(
        [*JENGA, "train", str(tmp_path / "c.json")], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if line.startswith("step "):
            break
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2, seen
    os.killpg(process.pid, signal.SIGINT)
    seen += process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 130, seen
    assert "error: interrupted at step" in seen
    assert "Traceback" not in seen
    time.sleep(0.1)
    assert [each for each in workers if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    (run,) = (tmp_path / "runs").glob("*/*")
    assert list((run / "checkpoints").glob("step-*"))
    assert RunFolder(run).info()["status"] == "interrupted"
