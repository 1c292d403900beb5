"""Two optimizers as one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from jenga.optimizers.beside import Beside


def made() -> tuple[list[torch.nn.Parameter], Beside]:
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(3, 3)), torch.nn.Parameter(torch.randn(3))]
    first = torch.optim.Muon([{"params": weights[:1], "lr": 0.1, "weight_decay": 0.2}])
    second = torch.optim.AdamW([{"params": weights[1:], "lr": 0.3, "weight_decay": 0.4}])
    return weights, Beside(first, second)


def step(weights: list[torch.nn.Parameter], *optimizers: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for each in weights:
        each.grad = torch.randn(each.shape, generator=generator)
    for optimizer in optimizers:
        optimizer.step()


def test_a_step_and_a_schedule_are_those_of_each() -> None:
    weights, both = made()
    schedule = LambdaLR(both, lambda step: 0.5**step)
    alone, _ = made()
    optimizers = (
        torch.optim.Muon(alone[:1], lr=0.1, weight_decay=0.2),
        torch.optim.AdamW(alone[1:], lr=0.3, weight_decay=0.4),
    )
    for at in range(3):
        step(weights, both, seed=at)
        schedule.step()
        step(alone, *optimizers, seed=at)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] *= 0.5
    assert all(map(torch.equal, weights, alone))
    assert [group["lr"] for group in both.param_groups] == [0.1 / 8, 0.3 / 8]
    both.zero_grad()
    assert all(each.grad is None for each in weights)


def test_one_state_dict_holds_both_and_brings_both_back() -> None:
    weights, both = made()
    step(weights, both, seed=0)
    both.param_groups[1]["lr"] = 0.05
    saved = copy.deepcopy(both.state_dict())  # load_state_dict takes over the tensors themselves
    assert [sorted(each) for each in saved["state"].values()] == [
        ["momentum_buffer"],
        ["exp_avg", "exp_avg_sq", "step"],
    ]
    others, resumed = made()
    resumed.load_state_dict(saved)
    with torch.no_grad():
        for mine, theirs in zip(others, weights, strict=True):
            mine.copy_(theirs)
    for at in (1, 2):
        step(weights, both, seed=at)
        step(others, resumed, seed=at)
    assert all(map(torch.equal, weights, others))
    assert [group["lr"] for group in resumed.param_groups] == [0.1, 0.05]


def test_nothing_is_computed_again() -> None:
    weights, both = made()
    step(weights, both, seed=0)
    with pytest.raises(AssertionError):
        both.step(lambda: 1.0)
