"""How far a run is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class State:
    """Progress of a run, all of it in every checkpoint.

    `turn`: optimizer steps done in this epoch. `pending`: the step's evaluation and epoch end are still to be done.
    `best_loss`: of the best model, where others with its score are told apart by it. `halves`: how rows are dealt into
    turns, as `Sampler` has it; the device that the run began on decides it for good.
    """

    step: int = 0
    epoch: int = 0
    turn: int = 0
    rows: int = 0
    pending: bool = False
    stopped: bool = False
    best_value: float | None = None
    best_step: int | None = None
    best_loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    evaluated_step: int = -1
    seconds: float = 0.0
    halves: bool = False

    def is_surpassed(self, value: float, loss: float | None, *, greater: bool) -> bool:
        """Return whether a model of `value`, and of `loss` where that counts among equals, is better than the best."""
        if self.best_value is None:
            return True
        ahead = (value - self.best_value) * (1 if greater else -1)
        return ahead > 0 or (ahead == 0 and loss is not None and self.best_loss is not None and loss < self.best_loss)
