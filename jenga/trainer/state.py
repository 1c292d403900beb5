"""How far a run is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class State:
    """Progress of a run, all of it in every checkpoint.

    `turn`: optimizer steps done in this epoch. `pending`: the step's evaluation and epoch end are still to be done.
    `halves`: how rows are dealt into turns, as `Sampler` has it; the device that the run began on decides it for good.
    """

    step: int = 0
    epoch: int = 0
    turn: int = 0
    rows: int = 0
    pending: bool = False
    stopped: bool = False
    best_value: float | None = None
    best_step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    evaluated_step: int = -1
    seconds: float = 0.0
    halves: bool = False
