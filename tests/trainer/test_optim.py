"""Optimizer groups and learning rates."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from jenga.config.training import LearningRates, ResolvedTraining
from jenga.errors import ConfigError
from jenga.model import MultiTaskModel
from jenga.optimizers import OPTIMIZER_REGISTRY
from jenga.optimizers.beside import Beside
from jenga.trainer.checkpoint import load_optimizer, mapping
from jenga.trainer.memory import pack, unpack
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


# ----------------------------------------------------------------------------------------- as their libraries have them


def library() -> Any:
    return pytest.importorskip("pytorch_optimizer", reason="jenga[optimizers] is not there")


def alone(name: str, params: list[torch.nn.Parameter], *, matrix: bool, **of_group: Any) -> torch.optim.Optimizer:
    """Return the library's own optimizer of one parameter."""
    if name == "muon":
        muon = partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
        return (muon if matrix else torch.optim.AdamW)(params, **of_group)
    if name == "adamuon":
        return library().AdaMuon([{"params": params, "use_muon": matrix, **of_group}])  # type: ignore[no-any-return]
    kinds = {"adamw": torch.optim.AdamW, "adafactor": torch.optim.Adafactor}
    names = {"lion": "Lion", "soap": "SOAP", "schedulefreeadamw": "ScheduleFreeAdamW"}
    kind: Any = kinds.get(name) or getattr(library(), names[name])
    return kind(params, **of_group)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lion", "muon", "schedulefreeadamw", "soap", "adamuon"])
def test_steps_are_the_librarys_own_at_the_groups_rate_and_decay_and_go_on_from_a_checkpoint(name: str) -> None:
    """Of one matrix and one bias; after three of six steps all state goes through what a checkpoint holds."""
    of_groups = [{"lr": 0.01, "weight_decay": 0.5}, {"lr": 0.03, "weight_decay": 0.25}]

    def made() -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
        generator = torch.Generator().manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((6, 4), (4,))]
        groups: list[Any] = [
            {"params": [weight], "name": "backbone", "use_muon": weight.ndim == 2, **of_group}
            for weight, of_group in zip(weights, of_groups, strict=True)
        ]
        return weights, make_optimizer(groups, training(optimizer=name))

    def step(weights: list[torch.nn.Parameter], *optimizers: torch.optim.Optimizer, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()

    expected, _ = made()
    theirs = [
        alone(name, [weight], matrix=weight.ndim == 2, **of_group)
        for weight, of_group in zip(expected, of_groups, strict=True)
    ]
    weights, ours = made()
    for seed in range(3):
        step(expected, *theirs, seed=seed)
        step(weights, ours, seed=seed)
    tensors: dict[str, torch.Tensor] = {}
    packed = json.loads(json.dumps(pack(ours.state_dict(), "optimizer", tensors)))
    saved = load(save({key: each.detach().contiguous().clone() for key, each in tensors.items()}))
    resumed, other = made()
    load_optimizer(other, mapping(unpack(packed, saved)))
    with torch.no_grad():
        torch._foreach_copy_(resumed, weights)
    for seed in range(3, 6):
        step(expected, *theirs, seed=seed)
        step(weights, ours, seed=seed)
        step(resumed, other, seed=seed)
    assert all(map(torch.equal, resumed, weights))
    for mine, its in zip(weights, expected, strict=True):
        # AdamW is fused here, which rounds in another order.
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------------ hidden matrices


def test_muon_takes_the_matrices_of_layers_and_adamw_all_else_each_at_its_groups_rate(model: MultiTaskModel) -> None:
    rates = LearningRates(backbone=0.02, rest=1e-4, fusion=2e-4, heads=3e-4)
    given = training(optimizer={"name": "muon", "adamw": {"betas": [0.8, 0.9]}}, learning_rate=rates, weight_decay=0.3)
    optimizer = make_optimizer(parameter_groups(model, {"shared": given}), given)
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    matrices = 0
    for name, parameter in model.named_parameters():
        group = group_of.pop(id(parameter))
        hidden = (".layer." in name or ".pooler." in name) and parameter.ndim == 2
        matrices += hidden
        assert ("momentum" in group) == group["use_muon"] == hidden, name
        part = {"encoders": "backbone" if hidden else "rest", "fusion": "fusion", "tasks": "heads"}[name.split(".")[0]]
        assert (group["name"], group["lr"]) == (part, getattr(rates, part)), name
        if hidden:
            assert (group["adjust_lr_fn"], group["weight_decay"]) == ("match_rms_adamw", 0.3)
        else:
            assert (group["betas"], group["fused"]) == ((0.8, 0.9), True)
    assert (group_of, matrices) == ({}, 7)
    assert learning_rates(optimizer) == {"backbone": 0.02, "rest": 1e-4, "fusion": 2e-4, "heads": 3e-4}


def test_muon_scales_its_rate_as_it_is_told(model: MultiTaskModel) -> None:
    given = training(optimizer={"name": "muon", "adjust_lr_fn": "original"}, learning_rate=LearningRates(**EACH))
    optimizer = make_optimizer(parameter_groups(model, {"shared": given}), given)
    assert optimizer.param_groups[0]["adjust_lr_fn"] == "original"


EACH = {"backbone": 1e-4, "rest": 1e-4, "fusion": 1e-3, "heads": 1e-3}


def test_without_hidden_matrices_to_train_muon_is_refused(make_trainer: Callable[..., Any]) -> None:
    """Adapters' factors are none: only their product is a layer's matrix."""
    given = training(optimizer="muon")
    adapted = make_trainer("mood", peft={"type": "lora"}).model
    with pytest.raises(ConfigError, match="'muon' is for the hidden matrices of encoders, and none is trained here"):
        make_optimizer(parameter_groups(adapted, {"shared": given}), given)


class Halving(torch.optim.SGD):
    """A registered optimizer that takes matrices only."""

    matrices_only = True


@pytest.mark.usefixtures("registries_as_before")
def test_a_registered_optimizer_may_take_hidden_matrices_alone(model: MultiTaskModel) -> None:
    OPTIMIZER_REGISTRY["halving"] = Halving
    given = training(optimizer={"name": "halving", "momentum": 0.5}, learning_rate=LearningRates(**EACH))
    optimizer = make_optimizer(parameter_groups(model, {"shared": given}), given)
    assert isinstance(optimizer, Beside)
    assert {group["use_muon"]: group.get("momentum") for group in optimizer.param_groups} == {True: 0.5, False: None}


# --------------------------------------------------------------------------------------------------------------- layers


def test_rates_fall_from_the_last_layer_to_the_embeddings_in_every_group_of_the_backbone(
    make_trainer: Callable[..., Any], checkpoint: Callable[[str], str]
) -> None:
    trained = make_trainer("mood", model={"base_model": checkpoint("bert")}).model
    for name, p in trained.encoders["shared"].named_parameters():
        assert p.requires_grad, name
    given = training(layer_decay=0.5, learning_rate=LearningRates(backbone=1e-3, heads=1e-2), weight_decay=0.1)
    groups = parameter_groups(trained, {"shared": given})
    settings = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(settings) == len(list(trained.parameters()))
    for name, p in trained.named_parameters():
        rate = 1e-2 if name.startswith("tasks.") else 5e-4 if ".embeddings." in name else 1e-3
        spared = name.endswith("bias") or "LayerNorm" in name
        assert settings[id(p)] == (rate, 0.0 if spared else 0.1), name
    optimizer = make_optimizer(groups, given)
    assert learning_rates(optimizer) == {"backbone": 1e-3, "heads": 1e-2}
    assert parameter_groups(trained, {"shared": training(layer_decay=1.0)}) == parameter_groups(
        trained, {"shared": training()}
    )


# ------------------------------------------------------------------------------------------------------------ schedules


def rates_over(steps: int, **options: Any) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = make_scheduler(optimizer, training(**options), steps)
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
