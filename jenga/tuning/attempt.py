"""What is left of one trial, carried out in this process: an ordinary run in the trial's folder, and its score."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from rich.console import Console

from jenga.config.schema import ExperimentConfig
from jenga.files import json_object
from jenga.run import experiment
from jenga.tuning.pruning import Pruning, Report


@dataclass(frozen=True)
class Judged:
    """How a trial did on the validation rows, and the fingerprint of its rows, as run.json has it."""

    score: float
    fingerprint: dict[str, Any]


TrialReport = Callable[[int, int, float, bool], bool]
"""A `Report` with the number of its trial before it."""


def carry_out(
    config: ExperimentConfig, folder: Path, *, metric: str, report: Report, device: str, console: Console
) -> Judged:
    """Train what is left to train and return the score of the model that the run kept, on the validation rows."""
    if not (folder / "run.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)  # a process was killed as it made the folder
    there = folder.is_dir()
    if not there or json_object(folder / "run.json").get("status") != "finished":
        try:
            experiment.train(
                config,
                callbacks=[Pruning(metric, report)],
                device=device,
                resume=str(folder) if there else None,
                folder=None if there else folder,
                console=console,
            )
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return Judged(_score_of(folder, metric), json_object(folder / "run.json")["fingerprint"])


def _score_of(folder: Path, metric: str) -> float:
    """Return `metric` of the evaluation that chose the model which the run in `folder` kept."""
    step = json_object(folder / "run.json")["best_step"]
    records = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    found = [each["metrics"][metric] for each in records if each["event"] == "eval" and each["step"] == step]
    return float(found[-1])


class Carrier(Protocol):
    """Where trials are carried out: one after another here, or several at once."""

    slots: int
    interrupted: bool
    """Whether the user has asked it to end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, number: int, config: ExperimentConfig, folder: Path) -> None:
        """Begin a trial, or go on with it; there are at most `slots` under way."""

    def wait(self) -> tuple[int, Callable[[], Judged]]:
        """Wait for a trial to end; return its number, and what gives its score or raises what it ended by."""

    def end(self) -> None:
        """Let the trials under way save checkpoints and end."""


class Here:
    """Trials in this process, in turn."""

    slots, interrupted = 1, False

    def __init__(self, *, metric: str, report: TrialReport, device: str, console: Console) -> None:
        self.metric, self.report, self.device, self.console = metric, report, device, console
        self._begun: list[tuple[int, ExperimentConfig, Path]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, number: int, config: ExperimentConfig, folder: Path) -> None:
        """Keep the trial for `wait`."""
        self._begun.append((number, config, folder))

    def wait(self) -> tuple[int, Callable[[], Judged]]:
        """Return what carries out the trial, on being called."""
        number, config, folder = self._begun.pop()

        def judged() -> Judged:
            return carry_out(
                config, folder, metric=self.metric, report=lambda *details: self.report(number, *details),
                device=self.device, console=self.console,
            )  # fmt: skip

        return number, judged

    def end(self) -> None:
        """Do nothing: by the time that another trial could be under way, none is."""
