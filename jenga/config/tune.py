"""The block `tune`: which settings `jenga tune` searches, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from jenga.config.strict import PositiveFloat, PositiveInt, Seed, Strict


class Interval(Strict):
    """Numbers of which trials take one."""

    low: float = Field(description="The least.")
    high: float = Field(description="The greatest.")
    log: bool = Field(False, description="Draw evenly on the scale of logarithms, as rates want it.")
    step: PositiveFloat | None = Field(None, description="Only low, low + step, low + 2 step ... up to high.")


Choices = Annotated[list[Any], Field(min_length=1)]


class TuneConfig(Strict):
    """The search of `jenga tune`; `jenga train` leaves it aside."""

    space: dict[str, Choices | Interval] = Field(
        min_length=1,
        description="By key, as --set takes it: a list of values, or {low, high} with log or step.",
    )
    trials: PositiveInt = Field(20, description="Runs, those that fail or are pruned too.")
    metric: str | None = Field(
        None, description="Score on the validation rows that trials are judged by; default: evaluation.metric."
    )
    sampler: Literal["tpe", "random", "grid"] = Field(
        "tpe", description="tpe learns from the trials before; grid takes every combination, in a drawn order."
    )
    pruner: Literal["median", "none"] = Field(
        "median", description="median: end a trial that is worse than the median of those before at its evaluation."
    )
    seed: Seed = Field(0, description="Seed of what is drawn.")
    timeout_s: PositiveFloat | None = Field(None, description="Seconds after which no further trial begins.")
    keep: Literal["best", "all"] = Field("best", description="Trials that keep their weights.")
