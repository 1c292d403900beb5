"""Optimizer groups and learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from jenga.config.schema import LearningRates, ResolvedTraining, TrainingConfig
from jenga.model import MultiTaskModel
from jenga.trainer.optim import learning_rates, make_optimizer, make_scheduler, parameter_groups

RATES = LearningRates(backbone=1e-4, adapters=1e-3, fusion=1e-3, heads=1e-3)


def training(**given: Any) -> ResolvedTraining:
    return ResolvedTraining(**{"epochs": 1, "batch_size": 8, "learning_rate": RATES, **given})


@pytest.fixture
def model(make_trainer: Callable[..., Any]) -> MultiTaskModel:
    found = make_trainer("mood", "price", fusion={"type": "attention"}).model
    assert isinstance(found, MultiTaskModel)
    return found


def test_every_parameter_is_in_exactly_one_group_at_its_parts_rate(model: MultiTaskModel) -> None:
    rates = LearningRates(backbone=1e-5, fusion=2e-4, heads=3e-3)
    optimizer = make_optimizer(
        parameter_groups(model, {"shared": training(learning_rate=rates)}), training(learning_rate=rates)
    )
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert (
        sum(len(group["params"]) for group in optimizer.param_groups) == len(rate_of) == len(list(model.parameters()))
    )
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        assert rate_of[id(parameter)] == {"encoders": 1e-5, "fusion": 2e-4, "tasks": 3e-3}[part], name
    assert learning_rates(optimizer) == {"backbone": 1e-5, "fusion": 2e-4, "heads": 3e-3}


def test_biases_and_norms_are_not_decayed_and_weights_are(model: MultiTaskModel) -> None:
    optimizer = make_optimizer(
        parameter_groups(model, {"shared": training(weight_decay=0.3)}), training(weight_decay=0.3)
    )
    decay_of = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    decays = {name: decay_of[id(parameter)] for name, parameter in model.named_parameters()}
    for name, decay in decays.items():
        spared = name.endswith("bias") or "LayerNorm" in name
        assert decay == (0.0 if spared else 0.3), name
    assert decays["fusion.shared.update_bias"] == 0.0, "one bias a task, packed into a matrix"
    assert decays["tasks.mood.heads.weight"] == 0.3


def test_frozen_parameters_are_left_out(model: MultiTaskModel) -> None:
    model.encoders["shared"].requires_grad_(False)
    optimizer = make_optimizer(parameter_groups(model, {"shared": training()}), training())
    assert set(learning_rates(optimizer)) == {"fusion", "heads"}


def test_adapters_have_a_group_and_a_rate_of_their_own(make_trainer: Callable[..., Any]) -> None:
    adapted = make_trainer("mood", peft={"type": "lora"}).model
    optimizer = make_optimizer(parameter_groups(adapted, {"shared": training()}), training())
    assert learning_rates(optimizer) == {"adapters": RATES.adapters, "heads": RATES.heads}
    inside = {id(each) for group in optimizer.param_groups if group["name"] == "adapters" for each in group["params"]}
    assert inside == {id(each) for each in adapted.encoders["shared"].parameters() if each.requires_grad}


def rates_over(steps: int, **options: Any) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = make_scheduler(optimizer, TrainingConfig(**options), steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_each_schedule_has_its_shape() -> None:
    warm = [0.0, 0.25, 0.5, 0.75]
    assert rates_over(8, scheduler="constant", warmup_steps=4) == pytest.approx([*warm, 1, 1, 1, 1])
    assert rates_over(8, scheduler="linear", warmup_steps=4) == pytest.approx([*warm, 1, 0.75, 0.5, 0.25])
    cosine = [(1 + math.cos(math.pi * x)) / 2 for x in (0, 0.25, 0.5, 0.75)]
    assert rates_over(8, scheduler="cosine", warmup_steps=4) == pytest.approx([*warm, *cosine])


def test_warmup_steps_win_over_the_ratio() -> None:
    assert rates_over(10, scheduler="constant", warmup_ratio=0.2) == pytest.approx([0, 0.5] + [1] * 8)
    assert rates_over(10, scheduler="constant", warmup_ratio=0.2, warmup_steps=0) == pytest.approx([1] * 10)
