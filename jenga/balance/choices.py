"""Balances of losses by name, as a configuration names them."""

from __future__ import annotations

from collections.abc import Sequence

from jenga.balance import famo, gradnorm, weights
from jenga.balance.base import LOSS_BALANCES, LossBalance
from jenga.config.explain import validate
from jenga.config.optimization import NamedPart, part_of
from jenga.config.training import TrainingConfig
from jenga.errors import ConfigError
from jenga.optimizers.registries import Choices

assert all((famo, gradnorm, weights))  # imported for what they register

BALANCES: Choices[LossBalance] = Choices(LOSS_BALANCES, dict, list, lambda part: None, ("tasks",))


def reads_losses_after(training: TrainingConfig) -> bool:
    """Whether the balance of `training` takes the rows of a source in a step in one batch, and looks at them twice.

    Raises ConfigError where they do not come in one.
    """
    name, _ = part_of(training.loss_balance)
    if not getattr(BALANCES.named(name), "reads_losses_after", False):
        return False
    if training.gradient_accumulation_steps > 1:
        raise ConfigError(
            f"training.loss_balance: '{name}' needs the rows of a step in one batch; remove "
            "training.gradient_accumulation_steps, and raise training.batch_size instead"
        )
    return True


def make_balance(given: str | NamedPart, tasks: Sequence[str]) -> LossBalance:
    """Return the balance that `given` names, of `tasks`. Raises ConfigError where there is none of this name."""
    name, parameters = part_of(given)
    block = validate(BALANCES.settings(name), parameters)
    return BALANCES.make(name, {key: getattr(block, key) for key in block.model_fields_set}, {"tasks": tasks})
