"""Fixed weights, and the registry."""

from __future__ import annotations

from typing import Any

import torch

from jenga.balance import LOSS_BALANCES, LossBalance, Part


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


def test_what_has_a_use_for_the_losses_of_a_step_says_so() -> None:
    class Scales(LossBalance):
        def settle(self, losses: Any, norms: Any) -> torch.Tensor:
            return torch.tensor(2.0)

    class Counts(LossBalance):
        def end_step(self, losses: Any) -> None:
            return None

    assert not LOSS_BALANCES["fixed"](["a"]).takes_losses
    assert all(made.takes_losses for made in (Scales(["a"]), Counts(["a"]), LOSS_BALANCES["dwa"](["a"])))
