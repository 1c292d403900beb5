"""Gradient normalisation."""

from __future__ import annotations

import pytest
import torch

from jenga.balance import LOSS_BALANCES, Part
from jenga.balance.gradnorm import GradNorm


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def gradient(made: GradNorm) -> list[float]:
    assert made.weight.grad is not None
    return made.weight.grad.tolist()


def test_it_is_registered() -> None:
    assert LOSS_BALANCES["gradnorm"] is GradNorm


def test_the_weights_learn_by_the_papers_loss() -> None:
    made = GradNorm(["a", "b", "c"], alpha=0.5)
    made.settle(scalars(a=2.0, b=4.0, c=1.0), scalars(a=1.0, b=1.0, c=1.0))
    losses, norms = scalars(a=1.0, b=3.6, c=0.25), scalars(a=3.0, b=1.0, c=0.5)
    made.settle(losses, norms)
    # Section 3.2 as it stands, by autograd: the target is constant.
    w = torch.ones(3, requires_grad=True)
    whole = w * torch.tensor([3.0, 1.0, 0.5])
    left = torch.tensor([0.5, 0.9, 0.25])
    target = (whole.mean() * (left / left.mean()) ** 0.5).detach()
    (whole - target).abs().sum().backward()
    assert w.grad is not None
    assert gradient(made) == w.grad.tolist()


def test_norms_are_drawn_to_one_where_all_tasks_train_at_one_rate() -> None:
    made, slopes = GradNorm(["a", "b"], alpha=1.5), scalars(a=8.0, b=2.0)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.002)
    for _ in range(500):
        made.settle(scalars(a=1.0, b=1.0), slopes)
        optimizer.step()
        made.end_step({})
    weights = made.weights()
    assert sum(weights.values()) == pytest.approx(2.0)
    assert weights["a"] * 8.0 == pytest.approx(weights["b"] * 2.0, rel=0.05)


def test_a_task_that_trains_slowly_gets_more_weight() -> None:
    made = GradNorm(["a", "b"], alpha=1.5)
    made.settle(scalars(a=1.0, b=1.0), scalars(a=1.0, b=1.0))
    made.settle(scalars(a=0.1, b=0.9), scalars(a=1.0, b=1.0))
    assert gradient(made) == [1.0, -1.0]


def test_a_task_that_is_absent_or_alone_keeps_its_weight() -> None:
    made = GradNorm(["a", "b", "c"])
    made.settle(scalars(a=1.0), scalars(a=5.0))
    assert gradient(made) == [0.0, 0.0, 0.0]
    made.settle(scalars(a=0.5, c=1.0), scalars(a=5.0, c=1.0))
    assert gradient(made)[1] == 0.0
    assert made.first.isnan().tolist() == [False, True, False]


def test_the_loss_teaches_the_weights_nothing() -> None:
    made, weight = GradNorm(["a"]), torch.nn.Parameter(torch.tensor(1.0))
    made.weighed({"a": Part(2 * weight, torch.tensor(1.0))})["a"].backward()
    assert made.weight.grad is None
    assert weight.grad is not None


def test_a_first_loss_is_one_that_says_something_and_nothing_is_learnt_before() -> None:
    made = GradNorm(["a", "b"])
    for useless in (0.0, float("inf"), float("nan"), -1.0):
        made.settle(scalars(a=4.0, b=useless), scalars(a=1.0, b=1.0))
        assert gradient(made) == [0.0, 0.0]
    made.settle(scalars(a=4.0, b=2.0), scalars(a=1.0, b=3.0))
    assert made.first.tolist() == [4.0, 2.0]
    assert gradient(made) == [-1.0, 3.0]
    made.settle(scalars(a=float("inf"), b=1.0), scalars(a=1.0, b=3.0))
    assert gradient(made) == [0.0, 0.0]
