"""Levels of parameters that learn at periods of their own: nested learning."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field, ValidationError, field_validator

from jenga.callbacks.base import CALLBACK_REGISTRY, BaseCallback, MakeOptimizer, TrainerView
from jenga.config.explain import validate
from jenga.config.optimization import OptimizerConfig, part_of
from jenga.config.strict import PositiveFloat, PositiveInt, Strict
from jenga.errors import ConfigError
from jenga.optimizers import OPTIMIZERS
from jenga.optimizers.groups import Group, Reduction, levels_of, part
from jenga.optimizers.levels import Levels
from jenga.optimizers.traits import parts_matrices, swaps_weights

logger = logging.getLogger(__name__)


class LevelConfig(Strict):
    """Which parameters are of a level, and how it learns."""

    match: str = Field(
        min_length=1,
        description="Glob over whole names of parameters, as model.named_parameters() has them: * is any characters, "
        "dots too, [0-5] one of these. The first level that a parameter matches has it.",
    )
    period: PositiveInt = Field(description="Steps after which it learns, by the gradients of all of them.")
    reduction: Reduction = Field("mean", description="What is made of the gradients of a period.")
    optimizer: str | OptimizerConfig | None = Field(
        None, description="As training.optimizer, for this level alone. Default: training.optimizer."
    )
    max_grad_norm: PositiveFloat | None = Field(
        None,
        description="Norm of what is made of its gradients above which that is scaled down, beside "
        "training.max_grad_norm, which holds for each step's. Default: off.",
    )
    learning_rate_factor: PositiveFloat = Field(1.0, description="What its rates are multiplied by.")

    @field_validator("optimizer")
    @classmethod
    def _known(cls, given: str | OptimizerConfig | None) -> str | OptimizerConfig | None:
        if given is not None:
            name, parameters = part_of(given)
            try:
                settings = OPTIMIZERS.settings(name)
                validate(settings, parameters)
            except ConfigError as error:
                raise ValueError(str(error)) from None
            except ValidationError as error:
                wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
                known = ", ".join(settings.model_fields)
                raise ValueError(f"what '{name}' gets is wrong: {wrong}. It takes {known}") from None
        return given


class NestedLearningConfig(Strict):
    """Nested learning (Behrouz et al. 2025): levels of parameters, each with a period, an optimizer and a clock.

    Parameters that no level has learn every step. docs/nested.md says what it does, and what it does not.
    """

    levels: list[LevelConfig] = Field(min_length=1, description="The levels, of which a parameter is in the first.")


@CALLBACK_REGISTRY.register("nested_learning", config=NestedLearningConfig)
class NestedLearning(BaseCallback[dict[str, Any]]):
    """Gives the run an optimizer of levels (`jenga.optimizers.levels.Levels`).

    levels: as the blocks of the configuration. What no level matches is a last one, whose period is 1.
    """

    def __init__(self, *, levels: Sequence[Mapping[str, Any]]) -> None:
        self.levels = [LevelConfig(**each) for each in levels]
        self._several: dict[str, list[int]] = {}

    def make_optimizer(
        self, groups: Sequence[Group], names: Mapping[torch.nn.Parameter, str], make: MakeOptimizer
    ) -> torch.optim.Optimizer:
        """Return one optimizer a level as one. Raises ConfigError where a level has no parameters, or it cannot be."""
        trained = [names[p] for group in groups for p in group["params"]]
        try:
            level_of, several = levels_of(trained, [each.match for each in self.levels])
        except ConfigError as error:
            raise ConfigError(f"callbacks.nested_learning.{error}") from None
        self._several = several
        parted = part(groups, {p: level_of[names[p]] for group in groups for p in group["params"]})
        return Levels([self._optimizer(at, of_level, make) for at, of_level in parted.items()])

    def on_train_begin(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Warn of parameters that several levels match, and of levels that never learn."""
        for at, level in enumerate(self.levels):
            if level.period > trainer.total_steps:
                logger.warning(
                    "callbacks.nested_learning.levels[%d]: its period is %d steps and the run has %d, so '%s' learns "
                    "nothing; lower the period, or freeze them to say so",
                    at, level.period, trainer.total_steps, level.match,
                )  # fmt: skip
        for name, matching in list(self._several.items())[:1]:
            logger.warning(
                "callbacks.nested_learning: %d parameters match several levels, and the first of these has them, such "
                "as '%s' of levels %s",
                len(self._several), name, matching,
            )  # fmt: skip

    def _level(self, at: int) -> LevelConfig:
        return self.levels[at] if at < len(self.levels) else LevelConfig(match="*", period=1)

    def _optimizer(self, at: int, groups: Sequence[Group], make: MakeOptimizer) -> torch.optim.Optimizer:
        level = self._level(at)
        own: list[Group] = [
            {
                **group,
                "lr": group["lr"] * level.learning_rate_factor,
                "name": group["name"] + (f".level{at}" if at < len(self.levels) else ""),
                "level_period": level.period,
                "level_clock": 0,
                "level_reduction": level.reduction,
                "level_max_grad_norm": level.max_grad_norm,
            }
            for group in groups
        ]
        where = f"callbacks.nested_learning.levels[{at}]" if at < len(self.levels) else "callbacks.nested_learning"
        if "use_muon" in own[0]:
            raise ConfigError(f"{where}: {_NO_MATRICES.format(name='training.optimizer')}")
        if level.optimizer is not None:
            name, _ = part_of(level.optimizer)
            if parts_matrices(OPTIMIZERS.named(name)):
                raise ConfigError(f"{where}.optimizer: {_NO_MATRICES.format(name=name)}")
        made = make(own, level.optimizer)
        if swaps_weights(type(made)):
            raise ConfigError(
                f"{where}: {type(made).__name__} has other weights for evaluations, which levels do not swap; choose "
                "an optimizer without, and training.ema for an average"
            )
        return made


_NO_MATRICES = (
    "{name} trains hidden matrices in a way of their own and leaves all else to AdamW, which levels do not part once "
    "more; choose m3, which takes any parameters, or adamw"
)
