"""Elastic weight consolidation: its Fisher information, its penalty, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from jenga.continual.ewc import Ewc
from jenga.continual.place import Place, place_of
from jenga.run.build import Experiment, build
from jenga.run.experiment import load_config, make_accelerator


@pytest.fixture
def built(staged: Callable[..., dict[str, Any]], tmp_path: Path) -> tuple[Experiment, Place]:
    experiment = build(load_config(staged()), tmp_path)
    return experiment, place_of(experiment.bundle.config, experiment.sources, make_accelerator("fp32", "cpu"))


def trainer_of(experiment: Experiment) -> Any:
    return SimpleNamespace(model=experiment.bundle.model.train())


def move(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator))


def test_the_fisher_information_is_the_mean_square_of_each_rows_gradient(built: tuple[Experiment, Place]) -> None:
    experiment, place = built
    model, stage = experiment.bundle.model, place.stages[0]
    (source,) = experiment.sources
    left_out, *rows = stage.rows[source.name].tolist()
    source.splits["train"].left_out = frozenset({left_out})
    ewc = Ewc(place, strength=1.0, rows=10_000)
    random = torch.get_rng_state()
    ewc.on_epoch_end(trainer_of(experiment), place.stages[0].epochs - 1, {})
    assert torch.equal(torch.get_rng_state(), random), "dropout would draw"
    assert model.training
    wanted = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    model.eval()
    for row in rows:
        batch = source.splits["train"].batch([row])
        logits = model(batch.inputs, ["go"])["go"].logits["way"]
        grads = torch.autograd.grad(F.cross_entropy(logits, batch.labels["go"]["way"]), list(model.parameters()))
        for name, grad in zip(wanted, grads, strict=True):
            wanted[name] += grad**2 / len(rows)
    assert wanted.keys() == ewc.held["fisher"].keys()
    for name, each in wanted.items():
        # float32 sums of 23 squares, in another order
        torch.testing.assert_close(ewc.held["fisher"][name], each, rtol=1e-4, atol=1e-9)
        assert torch.equal(ewc.held["weights"][name], model.get_parameter(name))


def test_the_penalty_of_several_stages_is_the_sum_of_theirs(built: tuple[Experiment, Place]) -> None:
    experiment, place = built
    model = experiment.bundle.model
    ewc = Ewc(place, strength=3.0, rows=5)
    stages = []
    for stage in range(2):
        alone = Ewc(place, strength=3.0, rows=5)
        alone.held["stages"] = stage  # as if the ones before had been held, and nothing of them
        epoch = sum(each.epochs for each in place.stages[: stage + 1]) - 1
        for each in (ewc, alone):
            each.on_epoch_end(trainer_of(experiment), epoch, {})
        stages.append(alone.held)
        move(model, stage)
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.5)
    ewc.on_gradients(trainer_of(experiment))
    for name, p in model.named_parameters():
        wanted = 0.5 + 3.0 * sum(each["fisher"][name] * (p.detach() - each["weights"][name]) for each in stages)
        torch.testing.assert_close(p.grad, wanted, rtol=1e-4, atol=1e-5)


def test_parameters_that_a_step_does_not_reach_are_left_alone(built: tuple[Experiment, Place]) -> None:
    experiment, place = built
    ewc = Ewc(place, strength=3.0, rows=5)
    ewc.on_epoch_end(trainer_of(experiment), place.stages[0].epochs - 1, {})
    move(experiment.bundle.model, 0)
    ewc.on_gradients(trainer_of(experiment))
    assert all(p.grad is None for p in experiment.bundle.model.parameters())


def test_a_stage_is_held_once_and_what_is_held_comes_back(built: tuple[Experiment, Place]) -> None:
    experiment, place = built
    ewc, other = (Ewc(place, strength=3.0, rows=5) for _ in range(2))
    for _ in range(2):
        ewc.on_epoch_end(trainer_of(experiment), place.stages[0].epochs - 1, {})
        first = {name: each.clone() for name, each in ewc.held["fisher"].items()}
        move(experiment.bundle.model, 0)
    other.load_state_dict(ewc.state_dict())
    assert other.held["stages"] == 1
    for name, each in first.items():
        assert torch.equal(other.held["fisher"][name], each)
        assert not torch.equal(other.held["weights"][name], experiment.bundle.model.get_parameter(name))


def test_within_a_stage_nothing_is_held(built: tuple[Experiment, Place]) -> None:
    experiment, place = built
    ewc = Ewc(place, strength=3.0, rows=5)
    ewc.on_epoch_end(trainer_of(experiment), 0, {})
    assert ewc.state_dict() == {"stages": 0, "fisher": {}, "weights": {}}
