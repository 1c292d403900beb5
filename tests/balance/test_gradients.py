"""The gradient of each task by itself."""

from __future__ import annotations

import pytest
import torch

from jenga.balance.gradients import TaskGradients


def test_the_gradients_of_a_step_in_batches_are_those_of_the_step_at_once() -> None:
    shared, own = torch.nn.Parameter(torch.tensor([1.0, 2.0])), torch.nn.Parameter(torch.tensor(3.0))
    found = TaskGradients({"text": [shared], "audio": []})
    for share in (0.25, 0.75):
        found.add({"a": share * shared.square().sum() * own, "b": share * 5 * shared[0]}, [own])
    taken = found.take()
    assert {task: row.tolist() for task, row in taken["text"].items()} == {"a": [6.0, 12.0], "b": [5.0, 0.0]}
    assert taken["audio"] == {}
    assert own.grad is not None
    assert own.grad.item() == 5.0
    assert shared.grad is None


def test_norms_are_over_all_encoders_and_told_once() -> None:
    first, second = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    found = TaskGradients({"text": [first], "audio": [second]})
    found.add({"a": (3 * first + 4 * second).sum(), "b": 2 * second.sum()})
    assert {task: norm.item() for task, norm in found.take_norms().items()} == {"a": 5.0, "b": 2.0}
    assert found.take_norms() == {}


def test_losses_that_are_needed_once_more_keep_their_graph() -> None:
    weight = torch.nn.Parameter(torch.tensor(2.0))
    loss = weight.square() ** 2
    TaskGradients({"text": [weight]}).add({"a": loss}, keep_graph=True)
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.item() == 32.0
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
