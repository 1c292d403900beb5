"""Balances of losses by name, as a configuration names them."""

from __future__ import annotations

from collections.abc import Sequence

from jenga.balance import weights
from jenga.balance.base import LOSS_BALANCES, LossBalance
from jenga.config.explain import validate
from jenga.config.optimization import NamedPart, part_of
from jenga.optimizers.registries import Choices

assert weights  # imported for what it registers

BALANCES: Choices[LossBalance] = Choices(LOSS_BALANCES, dict, list, lambda part: None, ("tasks",))


def make_balance(given: str | NamedPart, tasks: Sequence[str]) -> LossBalance:
    """Return the balance that `given` names, of `tasks`. Raises ConfigError where there is none of this name."""
    name, parameters = part_of(given)
    block = validate(BALANCES.settings(name), parameters)
    return BALANCES.make(name, {key: getattr(block, key) for key in block.model_fields_set}, {"tasks": tasks})
