"""Weights of tasks that follow their losses."""

from __future__ import annotations

import math

import pytest
import torch

from jenga.balance import LOSS_BALANCES, LossBalance, Part
from jenga.balance.weights import DynamicWeightAverage, Uncertainty


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def parts(share: float = 1.0, **values: float) -> dict[str, Part]:
    return {name: Part(torch.tensor(value), torch.tensor(share)) for name, value in values.items()}


def total(made: LossBalance, given: dict[str, Part]) -> torch.Tensor:
    return torch.stack([*made.weighed(given).values()]).sum()


def test_they_are_registered() -> None:
    assert LOSS_BALANCES["uncertainty"] is Uncertainty
    assert LOSS_BALANCES["dwa"] is DynamicWeightAverage


def test_a_learned_variance_settles_where_it_is_twice_the_loss() -> None:
    made = Uncertainty(["a", "b"])
    losses = parts(a=0.5, b=4.0)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.2)
    for _ in range(400):
        total(made, losses).backward()
        optimizer.step()
        optimizer.zero_grad()
    # d/dv (exp(-v) L + v/2) = 0 where exp(v) = 2 L.
    assert made.weights() == pytest.approx({"a": 1 / (2 * 0.5), "b": 1 / (2 * 4.0)}, rel=1e-3)


def test_at_the_start_it_is_the_plain_sum_and_a_task_that_is_absent_or_unlabelled_learns_no_variance() -> None:
    made = Uncertainty(["a", "b", "c"])
    found = total(made, {**parts(b=3.0), **parts(share=0.0, c=0.0)})
    assert found.item() == 3.0
    found.backward()
    assert made.log_variance.grad is not None
    assert made.log_variance.grad.tolist() == [0.0, 0.5 - 3.0, 0.0]


def test_a_step_in_batches_is_the_step_at_once() -> None:
    made = Uncertainty(["a", "b"])
    with torch.no_grad():
        made.log_variance.copy_(torch.tensor([0.3, -0.7]))
    whole = total(made, parts(a=2.0, b=1.0))
    in_two = total(made, parts(0.25, a=0.5, b=0.75)) + total(made, parts(0.75, a=1.5, b=0.25))
    torch.testing.assert_close(in_two, whole)


def test_a_loss_that_falls_slowly_gets_more_weight_from_the_third_epoch_on() -> None:
    made = DynamicWeightAverage(["a", "b"], temperature=2.0)
    for a, b in ((4.0, 4.0), (2.0, 3.0)):
        assert made.weights() == {"a": 1.0, "b": 1.0}
        for change in (-0.5, 0.5):
            made.end_step(scalars(a=a + change, b=b + change))
        made.end_epoch()
    shares = [math.exp(0.5 / 2), math.exp(0.75 / 2)]
    assert made.weights() == pytest.approx({"a": 2 * shares[0] / sum(shares), "b": 2 * shares[1] / sum(shares)})
    found = total(made, parts(a=1.0, b=1.0))
    assert float(found) == pytest.approx(2.0)


def test_a_task_that_an_epoch_lacked_counts_as_one_that_stands_still() -> None:
    made = DynamicWeightAverage(["a", "b"], temperature=1.0)
    for a in (4.0, 2.0):
        made.end_step(scalars(a=a))
        made.end_epoch()
    shares = [math.exp(0.5), math.exp(1.0)]
    assert made.weights() == pytest.approx({"a": 2 * shares[0] / sum(shares), "b": 2 * shares[1] / sum(shares)})


def test_what_it_knows_is_in_its_state() -> None:
    made, again = (DynamicWeightAverage(["a", "b"]) for _ in range(2))
    for a, b in ((4.0, 4.0), (2.0, 3.0)):
        made.end_step(scalars(a=a, b=b))
        made.end_epoch()
    made.end_step(scalars(a=1.0))
    again.load_state_dict(made.state_dict())
    for each in (made, again):
        each.end_step(scalars(a=3.0, b=6.0))
        each.end_epoch()
    assert again.weights() == made.weights() != {"a": 1.0, "b": 1.0}
