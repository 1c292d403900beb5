"""Tells a study of each evaluation of a trial, and ends the trial where the study has seen enough of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

from jenga.callbacks.base import Action, BaseCallback, TrainerView
from jenga.errors import DataError

Report = Callable[[int, float, bool], bool]
"""Takes the number of an evaluation (from 0), its score, and whether it is the last; returns whether to end the run."""


class PruningMemory(TypedDict):
    """Evaluations so far."""

    evaluations: int


class Pruning(BaseCallback[PruningMemory]):
    """Hand the score `metric` of every evaluation to `report`, and stop where it says so."""

    def __init__(self, metric: str, report: Report) -> None:
        self.metric, self.report = metric, report
        self.evaluations = 0

    def on_evaluate(self, trainer: TrainerView, metrics: dict[str, float], **kwargs: Any) -> Action | None:
        """Report the score. Raises DataError where the validation rows give none."""
        if self.metric not in metrics:
            raise DataError(f"tune.metric: '{self.metric}' is undefined on the validation rows (no labelled row)")
        number, self.evaluations = self.evaluations, self.evaluations + 1
        last = trainer.state.step >= trainer.total_steps
        return Action.STOP if self.report(number, metrics[self.metric], last) else None

    def state_dict(self) -> PruningMemory:
        """Return how many evaluations there were."""
        return {"evaluations": self.evaluations}

    def load_state_dict(self, state: PruningMemory) -> None:
        """Go on counting."""
        self.evaluations = state["evaluations"]
