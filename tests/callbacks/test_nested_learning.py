"""Nested learning: what the callback makes of its levels."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from jenga.callbacks.nested_learning import LevelConfig, NestedLearning
from jenga.config.training import LearningRates, ResolvedTraining
from jenga.errors import ConfigError
from jenga.optimizers.groups import Group
from jenga.optimizers.levels import Levels
from jenga.trainer.optim import make_optimizer

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_optimizer") is None, reason="jenga[optimizers] is not there"
)
NAMES = ("encoder.layer.0.weight", "encoder.layer.1.weight", "head.weight", "head.bias")


def groups_of(**more: Any) -> tuple[list[Group], dict[torch.nn.Parameter, str]]:
    parameters = [torch.nn.Parameter(torch.ones(2, 2) if "weight" in name else torch.ones(2)) for name in NAMES]
    groups: Any = [
        {"params": parameters[:2], "lr": 0.1, "weight_decay": 0.01, "name": "backbone", **more},
        {"params": parameters[2:], "lr": 0.2, "weight_decay": 0.0, "name": "heads", **more},
    ]
    return groups, dict(zip(parameters, NAMES, strict=True))


def made(*levels: dict[str, Any], optimizer: Any = "adamw", **more: Any) -> Any:
    groups, names = groups_of(**more)
    rates = LearningRates(backbone=0.1, heads=0.2)
    training = ResolvedTraining(epochs=1, batch_size=8, learning_rate=rates, optimizer=optimizer)

    def make(chosen: Sequence[Group], named: Any = None) -> torch.optim.Optimizer:
        return make_optimizer(chosen, training, named)

    return NestedLearning(levels=levels).make_optimizer(groups, names, make)


def test_a_level_has_its_name_its_rate_and_its_settings_and_the_rest_is_as_it_was() -> None:
    optimizer = made(
        {"match": "encoder.layer.0.*", "period": 8, "learning_rate_factor": 0.5, "max_grad_norm": 2.0},
        {"match": "*.weight", "period": 2, "reduction": "sum"},
    )
    assert isinstance(optimizer, Levels)
    found = [
        (g["name"], g["lr"], g["level_period"], g["level_reduction"], g["level_max_grad_norm"], len(g["params"]))
        for g in optimizer.param_groups
    ]
    assert found == [
        ("backbone.level0", 0.05, 8, "mean", 2.0, 1),
        ("backbone.level1", 0.1, 2, "sum", None, 1),
        ("heads.level1", 0.2, 2, "sum", None, 1),
        ("heads", 0.2, 1, "mean", None, 1),
    ]


def test_a_level_has_the_optimizer_of_the_run_or_its_own() -> None:
    optimizer = made(
        {"match": "encoder.layer.0.*", "period": 2, "optimizer": {"name": "sgd", "momentum": 0.5}},
        {"match": "encoder.*", "period": 2, "optimizer": "m3"},
        optimizer={"name": "adam", "betas": [0.8, 0.9]},
    )
    keys = [set(group) for group in optimizer.param_groups]
    assert "dampening" in keys[0]
    assert optimizer.param_groups[0]["momentum"] == 0.5
    assert "retention" in keys[1]
    assert optimizer.param_groups[2]["betas"] == (0.8, 0.9)


def test_what_several_levels_match_is_of_the_first_and_told(caplog: pytest.LogCaptureFixture) -> None:
    groups, names = groups_of()
    callback = NestedLearning(levels=[{"match": "*.0.*", "period": 3}, {"match": "enc*", "period": 2}])
    optimizer = callback.make_optimizer(groups, names, lambda chosen, named=None: torch.optim.SGD(chosen))  # type: ignore[arg-type,misc]
    assert optimizer is not None
    assert [names[group["params"][0]] for group in optimizer.param_groups[:2]] == list(NAMES[:2])
    with caplog.at_level(logging.WARNING):
        callback.on_train_begin(SimpleNamespace(total_steps=8))  # type: ignore[arg-type]
    assert "1 parameters match several levels" in caplog.text
    assert "'encoder.layer.0.weight' of levels [0, 1]" in caplog.text


def test_a_level_that_matches_nothing_is_told_at_its_place() -> None:
    with pytest.raises(ConfigError, match=r"callbacks.nested_learning.levels\[1\].match: 'hed.weight' .* did you mean"):
        made({"match": "enc*", "period": 3}, {"match": "hed.weight", "period": 2})


@pytest.mark.parametrize(
    ("levels", "more", "words"),
    [
        ({}, {"optimizer": "muon", "use_muon": True}, r"levels\[0\]: training.optimizer trains hidden matrices"),
        ({"optimizer": "muon"}, {}, r"levels\[0\].optimizer: muon trains hidden matrices in a way .*choose m3"),
        pytest.param(
            {"optimizer": "schedulefreeadamw"}, {}, r"levels\[0\]: ScheduleFreeAdamW has other weights for evaluations",
            marks=needs_library,
        ),
        pytest.param(
            {}, {"optimizer": "schedulefreesgd"}, r"levels\[0\]: ScheduleFreeSGD has other weights for evaluations",
            marks=needs_library,
        ),
    ],
)  # fmt: skip
def test_optimizers_that_part_or_swap_weights_themselves_are_refused_by_name(
    levels: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        made({"match": "enc*", "period": 3, **levels}, **more)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ("adamv", "unknown optimizer 'adamv'; did you mean 'adamw'|did you mean 'adam'"),
        ({"name": "sgd", "momentm": 0.9}, "what 'sgd' gets is wrong: momentm: .* It takes momentum, dampening"),
        ({"name": "m3", "period": "often"}, "what 'm3' gets is wrong: period: .*integer"),
    ],
)
def test_a_levels_optimizer_is_looked_at_as_the_configuration_is_read(optimizer: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LevelConfig(match="*", period=1, optimizer=optimizer)


def test_a_level_whose_period_is_longer_than_the_run_is_told(caplog: pytest.LogCaptureFixture) -> None:
    callback = NestedLearning(levels=[{"match": "encoder.*", "period": 9}, {"match": "head.*", "period": 8}])
    callback.on_train_begin(SimpleNamespace(total_steps=8))  # type: ignore[arg-type]
    (record,) = caplog.records
    assert "levels[0]: its period is 9 steps and the run has 8, so 'encoder.*' learns nothing" in record.getMessage()
