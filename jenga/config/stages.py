"""Training in stages, one after the other, and what keeps a model from forgetting the ones before."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from jenga.config.strict import NAME, PositiveFloat, PositiveInt, Strict

Cell = str | bool | int | float
Wanted = Cell | Annotated[list[Cell], Field(min_length=1)]


class StageConfig(Strict):
    """One stage of a training: which tasks learn, from which rows, and for how long."""

    name: str = Field(min_length=1, pattern=NAME, description="Name in continual.json and its figure.")
    tasks: list[str] | None = Field(None, min_length=1, description="Tasks that learn in it. Default: all.")
    where: dict[str, Wanted] = Field(
        default_factory=dict,
        description="Rows that it is of, in train, valid and test alike: by column the cell, or the cells, that they "
        "have. Default: all rows.",
    )
    epochs: PositiveInt | None = Field(None, description="Passes over its rows. Default: training.epochs.")


class ReplayConfig(Strict):
    """Rows of earlier stages join each step."""

    memory: PositiveInt = Field(200, description="Rows that are kept, of all earlier stages together.")
    keep: Literal["reservoir", "balanced"] = Field(
        "reservoir",
        description="reservoir: each row seen is kept with the same chance; balanced: as many of each stage.",
    )
    rows_per_step: PositiveInt | None = Field(
        None, description="Rows of the memory that join a step. Default: as many as the step has of its own."
    )


class AgemConfig(Strict):
    """The gradient of a step loses what would raise the loss on rows of earlier stages."""

    memory: PositiveInt = Field(200, description="Rows that are kept, of all earlier stages together.")
    keep: Literal["reservoir", "balanced"] = Field("balanced", description="As continual.replay.keep.")
    rows_per_step: PositiveInt = Field(64, description="Rows of the memory whose gradient a step is held against.")


class EwcConfig(Strict):
    """Weights are held where earlier stages left them, each by how much that stage's loss depends on it."""

    strength: PositiveFloat = Field(100.0, description="Factor of the penalty (lambda): the loss gains half of it.")
    rows: PositiveInt = Field(
        256, description="Training rows of a stage, drawn by training.seed, that its Fisher information is taken over."
    )


class ContinualConfig(Strict):
    """What is done against forgetting in a training in stages; without any of it, nothing."""

    replay: ReplayConfig | None = Field(None, description="Experience replay.")
    agem: AgemConfig | None = Field(None, description="Averaged gradient episodic memory.")
    ewc: EwcConfig | None = Field(None, description="Elastic weight consolidation.")
    prototypes: bool = Field(
        True,
        description="Judge beside the model, without training: class prototypes on what the encoder says of rows "
        "before the first step.",
    )
