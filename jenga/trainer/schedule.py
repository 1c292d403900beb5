"""A schedule that begins anew with each stage of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from jenga.config.training import ResolvedTraining
from jenga.trainer.optim import make_scheduler


class StagedSchedule:
    """The schedule of `training` over each stage's own steps: every stage is warmed up and cooled down by itself.

    The optimizer keeps what it remembers; only its rates begin anew.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, training: ResolvedTraining, steps: Sequence[int]) -> None:
        self.optimizer, self.training, self.steps = optimizer, training, steps
        self.stage = 0
        self.inner = make_scheduler(optimizer, training, steps[0])

    @property
    def last_epoch(self) -> int:
        """Optimizer steps done, as of torch's schedules."""
        done: int = self.inner.last_epoch
        return sum(self.steps[: self.stage]) + done

    def begin(self, stage: int) -> None:
        """Begin the schedule of `stage`, unless it is the one that is running."""
        if stage != self.stage:
            self._enter(stage)

    def _enter(self, stage: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group.pop("initial_lr")
        self.stage = stage
        self.inner = make_scheduler(self.optimizer, self.training, self.steps[stage])

    def step(self) -> None:
        """Move on by an optimizer step."""
        self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        """Return which stage it is in, and where in it."""
        return {"stage": self.stage, "inner": self.inner.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; the optimizer has its rates back already."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self._enter(state["stage"])
        self.inner.load_state_dict(state["inner"])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
