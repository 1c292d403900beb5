"""Fixed weights, and the registry."""

from __future__ import annotations

import torch

from jenga.balance import LOSS_BALANCES, Part


def test_fixed_weights_are_the_plain_sum() -> None:
    made = LOSS_BALANCES["fixed"](["a", "b", "c"])
    losses = {"a": torch.tensor(2.0, requires_grad=True), "c": torch.tensor(0.5)}
    found = made.weighed({name: Part(loss, torch.tensor(0.25)) for name, loss in losses.items()})
    assert {name: loss.item() for name, loss in found.items()} == {"a": 2.0, "c": 0.5}
    found["a"].backward()
    assert losses["a"].grad == 1.0
    assert made.weights() == {"a": 1.0, "b": 1.0, "c": 1.0}
    made.end_step(losses)
    made.end_epoch()
    assert made.weights() == {"a": 1.0, "b": 1.0, "c": 1.0}
