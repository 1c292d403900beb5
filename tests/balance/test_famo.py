"""Fast adaptive multitask optimization."""

from __future__ import annotations

import pytest
import torch

from jenga.balance import LOSS_BALANCES, Part
from jenga.balance.famo import Famo


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_it_is_registered() -> None:
    assert LOSS_BALANCES["famo"] is Famo


def test_a_step_goes_down_the_logarithms_of_the_losses() -> None:
    made = Famo(["a", "b"])
    made.logits.copy_(torch.tensor([0.2, -0.4]))
    slopes = torch.nn.Parameter(torch.tensor([3.0, 5.0]))
    parts = {"a": Part(slopes[0] * 2.0, torch.tensor(1.0)), "b": Part(slopes[1] * 0.1, torch.tensor(1.0))}
    torch.stack([*made.weighed(parts).values()]).sum().backward()
    scale = made.settle({name: part.loss.detach() for name, part in parts.items()}, {})
    # Algorithm 1: c = 1 / sum(z / l), and the gradient is c * sum(z * dl / l); here times the number of tasks.
    z, losses = torch.tensor([0.2, -0.4]).softmax(0), torch.tensor([6.0, 0.5])
    c = 1 / (z / losses).sum()
    assert slopes.grad is not None
    torch.testing.assert_close(slopes.grad * scale, 2 * c * z / losses * torch.tensor([2.0, 0.1]))
    assert made.weights() == pytest.approx(dict(zip("ab", (2 * c * z / losses).tolist(), strict=True)))
    assert sum(made.weights().values()) == pytest.approx(2.0)


def test_weight_moves_to_the_task_whose_loss_fell_least() -> None:
    made = Famo(["a", "b"])
    made.look_again(scalars(a=1.0, b=1.0), scalars(a=0.5, b=0.9))
    assert made.logits[0] < 0 < made.logits[1]


def test_its_logits_are_trained_as_adam_has_it() -> None:
    made, logits = Famo(["a", "b", "c"], learning_rate=0.1, gamma=0.01), torch.nn.Parameter(torch.zeros(3))
    adam = torch.optim.Adam([logits], lr=0.1, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        before, after = torch.rand(3, generator=generator) + 1, torch.rand(3, generator=generator) + 0.5
        made.look_again(dict(zip("abc", before, strict=True)), dict(zip("abc", after, strict=True)))
        shares = logits.softmax(0)
        (logits.grad,) = torch.autograd.grad(shares, logits, before.log() - after.log())
        adam.step()
        torch.testing.assert_close(made.logits, logits.detach())


def test_a_task_that_is_not_in_the_step_is_not_moved_by_it() -> None:
    made = Famo(["a", "b", "c"], gamma=0.0)
    made.look_again(scalars(a=1.0, c=2.0), scalars(a=0.5, c=1.9))
    assert made.logits[1].item() == pytest.approx(0.0, abs=1e-4)
    assert made.logits[0] < 0 < made.logits[2]


def test_a_loss_of_nothing_is_no_logarithm_of_nothing() -> None:
    made = Famo(["a", "b"])
    assert bool(made.settle(scalars(a=0.0, b=1.0), {}).isfinite())
    made.look_again(scalars(a=0.0, b=1.0), scalars(a=0.0, b=0.5))
    assert bool(made.logits.isfinite().all())
