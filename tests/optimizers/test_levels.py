"""Levels of parameters that step at periods of their own, compared bit for bit."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from jenga.optimizers import M3
from jenga.optimizers.levels import Levels

SHAPES = ((3, 2), (3,))
Gradients = list[list[torch.Tensor]]


def adamw(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, fused=True)


def settings(period: int, **own: Any) -> dict[str, Any]:
    usual = {"level_clock": 0, "level_reduction": "mean", "level_max_grad_norm": None}
    return {"lr": 0.1, "weight_decay": 0.3, "level_period": period, **usual, **own}


class Trained:
    """Levels of two parameters each, a matrix with decay and a vector without, from the same first weights."""

    def __init__(self, *levels: dict[str, Any], make: Callable[[Any], torch.optim.Optimizer] = adamw) -> None:
        torch.manual_seed(0)
        self.weights = [[torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES] for _ in levels]
        made = [
            make(
                [
                    {"params": [matrix], **level},
                    {"params": [vector], **level, "weight_decay": 0.0},
                ]
            )
            for (matrix, vector), level in zip(self.weights, levels, strict=True)
        ]
        self.optimizer = Levels(made)
        self.all = [p for level in self.weights for p in level]

    def step(self, gradients: Sequence[torch.Tensor | None]) -> None:
        for p, gradient in zip(self.all, gradients, strict=True):
            if gradient is None or p.grad is None:
                p.grad = None if gradient is None else gradient.clone()
            else:
                p.grad.copy_(gradient)  # the same tensor again, as where gradients are set to 0 in place
        self.optimizer.step()

    def seen(self, level: int) -> list[torch.Tensor]:
        """Weights of a level and what its optimizer remembers, copied."""
        found = [p.detach().clone() for p in self.weights[level]]
        for p in self.weights[level]:
            inner = self.optimizer.state[p].get("inner", {})
            found += [each.clone() for _, each in sorted(inner.items())]
        return found


def drawn(steps: int, levels: int = 2) -> Gradients:
    torch.manual_seed(1)
    return [[torch.randn(shape) for _ in range(levels) for shape in SHAPES] for _ in range(steps)]


def same(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def plain(trained: Trained, level: int) -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
    """Copies of the weights of a level, and AdamW over them."""
    matrix, vector = (torch.nn.Parameter(p.detach().clone()) for p in trained.weights[level])
    groups = [{"params": [matrix], "weight_decay": 0.3}, {"params": [vector], "weight_decay": 0.0}]
    return [matrix, vector], torch.optim.AdamW(groups, lr=0.1, fused=True)


def test_at_periods_of_one_levels_are_plain_adamw_with_its_decay() -> None:
    trained = Trained(settings(1), settings(1))
    alone = [plain(trained, level) for level in (0, 1)]
    for gradients in drawn(6):
        trained.step(gradients)
        for at, (weights, optimizer) in enumerate(alone):
            for p, gradient in zip(weights, gradients[2 * at : 2 * at + 2], strict=True):
                p.grad = gradient
            optimizer.step()
    for at, (weights, _) in enumerate(alone):
        assert same(weights, trained.weights[at])
    assert all("accumulated" not in trained.optimizer.state[p] for p in trained.all)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_slow_level_is_its_optimizer_over_its_own_clock(reduction: str) -> None:
    """AdamW, which steps at 3, 6 and 9 by what is made of three gradients each: its bias correction counts three."""
    trained = Trained(settings(3, level_reduction=reduction), settings(1))
    weights, optimizer = plain(trained, 0)
    steps = drawn(9)
    for at, gradients in enumerate(steps, 1):
        trained.step(gradients)
        if at % 3 == 0:
            for which, p in enumerate(weights):
                total = steps[at - 3][which] + steps[at - 2][which] + steps[at - 1][which]
                p.grad = total * (1 / 3) if reduction == "mean" else total
            optimizer.step()
        assert same(weights, trained.weights[0])
    assert float(trained.optimizer.state[trained.weights[0][0]]["inner"]["step"]) == 3
    assert float(trained.optimizer.state[trained.weights[1][0]]["inner"]["step"]) == 9


def test_between_its_steps_a_level_and_its_memory_do_not_change_by_a_bit() -> None:
    trained = Trained(settings(4), settings(1))
    moved = []
    for at, gradients in enumerate(drawn(12), 1):
        before = [trained.seen(level) for level in (0, 1)]
        trained.step(gradients)
        moved += [at] * (not same(before[0], trained.seen(0)))
        assert not same(before[1], trained.seen(1))
    assert moved == [4, 8, 12]


def test_each_level_scales_its_own_gradients_down_where_it_steps_and_by_its_own_norm() -> None:
    limit = 0.5
    trained = Trained(settings(2, level_max_grad_norm=limit), settings(1, level_max_grad_norm=limit), settings(1))
    alone = [plain(trained, level) for level in range(3)]
    steps = drawn(4, levels=3)
    for at, gradients in enumerate(steps, 1):
        trained.step(gradients)
        assert same([p.grad for p in trained.all if p.grad is not None], gradients)
        for level, (weights, optimizer) in enumerate(alone):
            if level == 0 and at % 2:
                continue
            for which, p in enumerate(weights, 2 * level):
                p.grad = gradients[which].clone()
                if level == 0:
                    p.grad = (steps[at - 2][which] + gradients[which]) * (1 / 2)
            if level < 2:
                assert torch.nn.utils.clip_grad_norm_(weights, limit) > limit
            optimizer.step()
    for level, (weights, _) in enumerate(alone):
        assert same(weights, trained.weights[level])


@pytest.mark.parametrize("make", [adamw, lambda groups: torch.optim.SGD(groups, momentum=0.9), M3])
@pytest.mark.parametrize("cut", [1, 3, 4, 7])
def test_a_resume_in_the_middle_of_a_period_goes_on_bit_for_bit(cut: int, make: Any) -> None:
    def fresh() -> Trained:
        return Trained(settings(3), settings(4, level_reduction="sum"), settings(1), make=make)

    straight, resumed, steps = fresh(), fresh(), drawn(13, levels=3)
    for gradients in steps[:cut]:
        straight.step(gradients)
    resumed.optimizer.load_state_dict(copy.deepcopy(straight.optimizer.state_dict()))
    with torch.no_grad():
        for mine, theirs in zip(resumed.all, straight.all, strict=True):
            mine.copy_(theirs)
    for gradients in steps[cut:]:
        straight.step(gradients)
        resumed.step(gradients)
        assert same(straight.all, resumed.all)
    assert [group["level_clock"] for group in straight.optimizer.param_groups] == [1, 1, 1, 1, 0, 0]


def test_the_state_is_tensors_and_what_json_holds() -> None:
    trained = Trained(settings(3), settings(1))
    trained.step(drawn(1)[0])
    state = trained.optimizer.state_dict()
    json.dumps(state["param_groups"])
    assert [sorted(state["state"][at]) for at in range(4)] == [["accumulated"], ["accumulated"], ["inner"], ["inner"]]


def test_a_schedule_moves_the_rates_of_all_levels_and_a_slow_one_steps_by_that_of_its_moment() -> None:
    trained = Trained(settings(2), settings(1))
    weights, optimizer = plain(trained, 0)
    schedule = LambdaLR(trained.optimizer, lambda step: 0.5**step)
    steps = drawn(4)
    for at, gradients in enumerate(steps, 1):
        trained.step(gradients)
        if at % 2 == 0:
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * 0.5 ** (at - 1)
            for which, p in enumerate(weights):
                p.grad = (steps[at - 2][which] + gradients[which]) * (1 / 2)
            optimizer.step()
        schedule.step()
    assert same(weights, trained.weights[0])
    assert [group["lr"] for group in trained.optimizer.param_groups] == [0.1 / 16] * 4


def test_a_parameter_without_gradients_in_a_period_is_left_alone_by_decay_too() -> None:
    """Heads of a task whose turn it is not have none; with one of two in a period, half of it is the mean."""
    trained = Trained(settings(2))
    one, none = drawn(1, levels=1)[0]
    before = trained.weights[0][1].detach().clone()
    weights, optimizer = plain(trained, 0)
    trained.step([one, None])
    trained.step([None, None])
    weights[0].grad = one / 2
    optimizer.step()
    assert torch.equal(trained.weights[0][1], before)
    assert same(weights, trained.weights[0])
    assert trained.optimizer.state[trained.weights[0][1]] == {}
    trained.step([None, none])
    trained.step([None, None])
    assert not torch.equal(trained.weights[0][1], before)


def test_gradients_add_up_in_single_precision_at_least() -> None:
    """Of 2,000 ones in bfloat16, whose sum in it ends at 256, the mean is 1."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimizer = Levels([torch.optim.SGD([{"params": [p], **settings(2000), "lr": 1.0, "weight_decay": 0.0}])])
    for _ in range(2000):
        p.grad = torch.ones(1, dtype=torch.bfloat16)
        optimizer.step()
    assert float(p.detach()) == -1.0


def test_nothing_is_computed_again() -> None:
    with pytest.raises(AssertionError):
        Trained(settings(1)).optimizer.step(lambda: 1.0)
