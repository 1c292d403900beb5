"""The optimisation: its block, what one backbone of several has of its own, and the numbers that a loop needs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from jenga.config.optimization import USUAL_OPTIMIZER, LossBalanceConfig, OptimizerConfig, SchedulerConfig
from jenga.config.strict import Fraction, PositiveFloat, PositiveInt, Seed, Strict

LayerDecay = Annotated[float, Field(gt=0, le=1)]
WeightDecay = Annotated[float, Field(ge=0)]


class LearningRates(Strict):
    """Learning rate of each parameter group; `adapters` takes the place of `backbone` where `peft` is set.

    `rest`: of what is no hidden matrix of the backbone, where the optimizer is for these (muon); default: as backbone.
    A rate that is not given follows from the encoder's width.
    """

    backbone: PositiveFloat | None = None
    rest: PositiveFloat | None = None
    adapters: PositiveFloat | None = None
    fusion: PositiveFloat | None = None
    heads: PositiveFloat | None = None


class TrainingConfig(Strict):
    """The optimisation. Passes, batches and rates that are not given follow from the rows and the encoder.

    docs/training.md has the rule; a run's config.yml has the numbers.
    """

    epochs: PositiveInt | None = Field(
        None, description="Passes over the rows; ignored where max_steps is given. Default: by the number of rows."
    )
    max_steps: PositiveInt | None = Field(None, description="Optimizer steps.")
    batch_size: PositiveInt | None = Field(
        None,
        description="Rows of a step, or of each of gradient_accumulation_steps in one; on a CPU an encoder of tokens "
        "takes them in two passes, by length. Default: by the number of rows and the encoder.",
    )
    tokens_per_step: PositiveInt | None = Field(
        None,
        description="Tokens of a step at most, in place of batch_size: rows are taken in the shuffled order while they "
        "fit, and a longer one is a step by itself. For texts.",
    )
    gradient_accumulation_steps: PositiveInt = Field(
        1, description="Forward passes of an optimizer step; with tokens_per_step, of that share of its tokens each."
    )
    learning_rate: PositiveFloat | LearningRates = Field(
        default_factory=LearningRates,
        description="One rate, or one for each of backbone, adapters, fusion, heads. Default: by the encoder.",
    )
    layer_decay: LayerDecay | None = Field(
        None,
        description="What the rate of an encoder's layer is of that of the next one, such as 0.8; the last layer has "
        "learning_rate.backbone, embeddings the least.",
    )
    optimizer: str | OptimizerConfig = Field(
        USUAL_OPTIMIZER, description="Its name, or a mapping of name and parameters."
    )
    scheduler: str | SchedulerConfig | None = Field(
        None,
        description="Shape of the rate after warmup: its name, or a mapping of name and parameters. Default: linear; "
        "constant for an optimizer that averages weights instead (schedule-free).",
    )
    warmup_steps: int | None = Field(None, ge=0, description="Steps of linear warmup; wins over warmup_ratio.")
    warmup_ratio: Fraction = Field(0.1, description="Share of all steps spent on warmup.")
    weight_decay: WeightDecay | None = Field(
        None,
        description="Decoupled decay of weights (scales and shifts of members too), not of biases or norms. "
        "Default: by the encoder, 0.01 of nearly all.",
    )
    max_grad_norm: PositiveFloat | None = Field(
        1.0, description="Gradient norm above which it is scaled down; null: off."
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Decay of a moving average of the trained weights, such as 0.999: it is judged and saved in their "
        "place. Early on it forgets sooner.",
    )
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        "fp32",
        description="Type of the forward pass; auto: bf16 where a short trial shows that it is the faster on this "
        "machine, else fp32.",
    )
    loss_balance: str | LossBalanceConfig = Field(
        "fixed",
        description="What weighs the losses of tasks beside their `weight`: fixed: nothing; uncertainty: a learned "
        "variance each; dwa: more for losses that fall slowly; gradnorm: gradients of like norms; famo: losses that "
        "fall at like rates.",
    )
    gradient_conflict: Literal["sum", "upgrad", "pcgrad", "cagrad", "mgda", "nash_mtl", "aligned_mtl"] | None = Field(
        None,
        description="What is made of the gradients of tasks for the encoder that they share, one after the other: sum: "
        "only their cosines are recorded; the others: what no task gets worse by, as torchjd has it. Default: the "
        "gradient of the sum, in one pass.",
    )
    sampler: Literal["round_robin", "proportional", "temperature", "together"] = Field(
        "round_robin",
        description="Whose turn it is when tasks have different rows; together: each step has rows of all of them.",
    )
    rows_per_step: dict[str, PositiveInt] = Field(
        default_factory=dict,
        description="Rows of a step by task, for sampler: together; of tasks that read the same rows once. Default: "
        "batch_size x gradient_accumulation_steps.",
    )
    temperature: Annotated[float, Field(ge=1)] = Field(
        2.0, description="Of the temperature sampler: 1 is proportional, larger is more even."
    )
    seed: Seed = Field(0, description="Seed of weights, order and dropout.")
    log_every_steps: PositiveInt = Field(10, description="Optimizer steps between training records in metrics.jsonl.")
    gradient_checkpointing: bool = Field(
        False, description="Compute the encoder's activations again in the backward pass instead of keeping them."
    )
    fsdp: bool = Field(
        False,
        description="Each of several processes keeps a part of the encoders, of their gradients and of what the "
        "optimizer knows of them (FSDP2), in place of the whole. Changes no result.",
    )
    deterministic: bool = Field(False, description="Refuse operations whose results differ from run to run.")


class OwnTraining(Strict):
    """What the training of one backbone's tasks has of its own, in a run of several backbones.

    What is not given is as `training` has it, and where that has no number either, follows from the backbone's rows.
    """

    epochs: PositiveInt | None = Field(
        None, description="Passes over its rows. Where other backbones have fewer, its rows come more often a pass."
    )
    batch_size: PositiveInt | None = Field(None, description="Rows of a step, or of each accumulated part of one.")
    tokens_per_step: PositiveInt | None = Field(
        None,
        description="Tokens of a step at most, in place of batch_size. One of them here stands for both in training.",
    )
    learning_rate: PositiveFloat | LearningRates = Field(
        default_factory=LearningRates,
        description="One rate, or one for each of backbone, adapters, fusion, heads.",
    )
    layer_decay: LayerDecay | None = Field(None, description="As training.layer_decay; 1: all layers alike.")
    weight_decay: WeightDecay | None = Field(None, description="Decoupled decay of its weights, and of its tasks'.")


class ResolvedTraining(TrainingConfig):
    """The optimisation with every number that the loop needs; `batch_size` is None where tokens are counted instead."""

    epochs: PositiveInt
    learning_rate: LearningRates
    weight_decay: WeightDecay = 0.01
    scheduler: str | SchedulerConfig = "linear"


_ALONE = ("epochs", "layer_decay", "weight_decay")
"""Keys of a backbone's own training that stand alone: each replaces the common one."""


def own_training(training: TrainingConfig, own: OwnTraining) -> TrainingConfig:
    """Return `training` with what one backbone has of its own."""
    update: dict[str, Any] = {name: value for name in _ALONE if (value := getattr(own, name)) is not None}
    if own.batch_size is not None or own.tokens_per_step is not None:
        update |= {"batch_size": own.batch_size, "tokens_per_step": own.tokens_per_step}
    update["learning_rate"] = _rates(training.learning_rate, own.learning_rate)
    return training.model_copy(update=update)


def _rates(common: float | LearningRates, own: float | LearningRates) -> float | LearningRates:
    if not isinstance(own, LearningRates):
        return own
    given = {name: rate for name, rate in dict(own).items() if rate is not None}
    if not given:
        return common
    spread = dict(common) if isinstance(common, LearningRates) else dict.fromkeys(LearningRates.model_fields, common)
    return LearningRates(**{**spread, **given})


def resolved(training: TrainingConfig) -> ResolvedTraining:
    """Return `training` as one that has every number. Raises ValidationError where it has not: it was never built."""
    return training if isinstance(training, ResolvedTraining) else ResolvedTraining(**dict(training))
