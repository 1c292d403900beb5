"""Whether one task leaves the others no say in the encoder that they share."""

from __future__ import annotations

import logging
from collections.abc import Mapping

logger = logging.getLogger(__name__)

RATIO, TIMES = 10.0, 3
"""What a task's gradient is of those of all others together, and in how many measures one after another."""


class Dominance:
    """Names a task that dominates, once."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._named: set[str] = set()

    def look(self, norms: Mapping[str, float], step: int) -> None:
        """Take in the norms of the gradients, as they are weighed, of the tasks of `step`."""
        for task, norm in norms.items():
            others = sum(norms.values()) - norm
            dominates = len(norms) > 1 and norm > RATIO * others
            self._times[task] = self._times.get(task, 0) + 1 if dominates else 0
            if self._times[task] >= TIMES and task not in self._named:
                self._named.add(task)
                shown = f"{norm / others:.0f} times that of all others together" if others else "the only one"
                logger.warning(
                    "step %d: task '%s' dominates the encoder: its gradient is %s, and was at %d measures in a row; "
                    "lower its weight, or set training.loss_balance to gradnorm or training.gradient_conflict",
                    step, task, shown, TIMES,
                )  # fmt: skip
