"""Trainings of several processes, started as a user does, and held against one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

NO_DROPOUT = {"model": {"dropout": 0.0}, "evaluation": {"baselines": [], "worst_errors": 0}}
Make = Callable[..., dict[str, Any]]


def without_dropout(settings: dict[str, Any]) -> dict[str, Any]:
    for task in settings["tasks"]:
        task["dropout"] = 0.0
    return settings


class Launched(subprocess.Popen[str]):
    """A launcher that is ended, with all that it has started, where it is waited for in vain."""

    said: Path

    def wait(self, timeout: float | None = None) -> int:
        try:
            return super().wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            super().wait(30)
            pytest.fail(f"not ended after {timeout} s; it has said:\n{self.said.read_text()}")


def start(settings: dict[str, Any], folder: Path, *options: str) -> Launched:
    folder.mkdir(exist_ok=True)
    path = folder / "experiment.yml"
    path.write_text(yaml.safe_dump({**settings, "output_dir": str(folder / "runs")}))
    with (folder / "told").open("a") as told:
        begun = Launched(
            [sys.executable, "-m", "jenga.train", str(path), *options], stdout=told, stderr=told, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, preexec_fn=hear_signals,
        )  # fmt: skip
    begun.said = folder / "told"
    return begun


def hear_signals() -> None:
    """Undo what nohup, or a shell's background, has its children ignore."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def records(run: Path) -> list[dict[str, Any]]:
    *lines, _ = (run / "metrics.jsonl").read_text().split("\n")  # the last one may be under way
    return [json.loads(line) for line in lines]


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs").glob("*/*/run.json")
    return run.parent


def processes_of(folder: Path) -> list[int]:
    """Return the processes that train, by their numbers."""
    found = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_bytes().split(b"\0")
            told = dict(word.split(b"=", 1) for word in (each / "environ").read_bytes().split(b"\0") if b"=" in word)
        except OSError:
            continue
        if str(folder / "experiment.yml").encode() in words and b"RANK" in told:
            found[int(told[b"RANK"])] = int(each.name)
    return [found[number] for number in sorted(found)]


def compared(one: Path, several: Path, *, within: float = 1e-5) -> None:
    """Hold two runs against each other: losses and metrics, of which those of classes are counts."""
    ours, theirs = records(one), records(several)
    assert [each["event"] for each in ours] == [each["event"] for each in theirs]
    for own, other in zip(ours, theirs, strict=True):
        if own["event"] == "train":
            for name, loss in own["task_loss"].items():
                assert other["task_loss"][name] == pytest.approx(loss, abs=within)
            assert other["head_loss"].keys() == own["head_loss"].keys()
            assert other["grad_norm"] == pytest.approx(own["grad_norm"], rel=10 * within)
        elif own["event"] == "eval":
            assert other["metrics"] == pytest.approx(own["metrics"], rel=within, abs=within)
    evaluations = [json.loads((run / "evaluation.json").read_text())["splits"]["test"] for run in (one, several)]
    for name, value in evaluations[0]["metrics"].items():
        assert evaluations[1]["metrics"][name] == pytest.approx(value, abs=within), name


def until(condition: Callable[[], bool], folder: Path, timeout_s: float = 240.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, (folder / "told").read_text()
        time.sleep(0.1)
