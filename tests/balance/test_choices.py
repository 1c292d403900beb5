"""Balances of losses by name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jenga.balance import make_balance, reads_losses_after
from jenga.balance.weights import DynamicWeightAverage, Uncertainty
from jenga.config.optimization import LossBalanceConfig
from jenga.config.training import TrainingConfig
from jenga.errors import ConfigError


def test_a_balance_is_made_by_its_name_with_its_parameters() -> None:
    assert not make_balance("fixed", ["a"]).moves
    assert isinstance(make_balance("uncertainty", ["a"]), Uncertainty)
    made = make_balance(LossBalanceConfig.model_validate({"name": "dwa", "temperature": 1.5}), ["a", "b"])
    assert isinstance(made, DynamicWeightAverage)
    assert (made.tasks, made.temperature) == (("a", "b"), 1.5)


def test_another_name_or_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown loss balance 'uncertain'; did you mean 'uncertainty'"):
        make_balance("uncertain", ["a"])
    with pytest.raises(ValidationError, match="heat"):
        make_balance(LossBalanceConfig.model_validate({"name": "dwa", "heat": 1.5}), ["a"])


def test_what_looks_at_a_step_twice_takes_its_rows_in_one_batch() -> None:
    assert reads_losses_after(TrainingConfig(loss_balance="famo"))
    assert not reads_losses_after(TrainingConfig(loss_balance="gradnorm", gradient_accumulation_steps=2))
    with pytest.raises(ConfigError, match="'famo' needs the rows of a step in one batch; remove"):
        reads_losses_after(TrainingConfig(loss_balance="famo", gradient_accumulation_steps=2))
