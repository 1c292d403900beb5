"""The losses and the gradient norm of each step, against those of the steps before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from jenga.sentinel.spikes import RobustZ

Detector = Literal["non_finite", "loss_spike", "gradient_outlier"]


class Alarm(NamedTuple):
    """What is amiss with a step. `what`: the task whose loss it is, or ``gradient``; `z`: inf where not finite."""

    detector: Detector
    what: str
    value: float
    z: float


class Watch:
    """Judges steps one after the other; limit: the robust z above which one is told of."""

    def __init__(self, window: int, limit: float) -> None:
        self.window, self.limit = window, limit
        self._norms = RobustZ(window)
        self._losses: dict[str, RobustZ] = {}

    def judge(self, losses: Mapping[str, float], norm: float) -> list[Alarm]:
        """Return what is amiss with a step of mean `losses` by task and gradient `norm`, before it is taken in."""
        alarms = []
        for what, value in (*losses.items(), ("gradient", norm)):
            if not math.isfinite(value):
                alarms.append(Alarm("non_finite", what, value, math.inf))
            elif (z := self._z(what, value)) > self.limit:
                alarms.append(Alarm("gradient_outlier" if what == "gradient" else "loss_spike", what, value, z))
        return alarms

    def norm_z(self, norm: float) -> float:
        """Return the robust z of a gradient norm."""
        return self._norms.z(norm)

    def add(self, losses: Mapping[str, float], norm: float) -> None:
        """Take a step in that was taken."""
        for task, loss in losses.items():
            self._losses.setdefault(task, RobustZ(self.window)).add(loss)
        self._norms.add(norm)

    def _z(self, what: str, value: float) -> float:
        if what == "gradient":
            return self._norms.z(value)
        return self._losses[what].z(value) if what in self._losses else 0.0

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"norms": self._norms.state(), "losses": {task: each.state() for task, each in self._losses.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._norms.restore(state["norms"])
        self._losses = {task: RobustZ(self.window) for task in state["losses"]}
        for task, logs in state["losses"].items():
            self._losses[task].restore(logs)
