"""Optimizers that step parameter by parameter."""

from __future__ import annotations

from typing import Any

import torch

from jenga.optimizers.one_by_one import OneByOne


class Descent(OneByOne):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def change(self, p: torch.nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        p -= group["lr"] * gradient


def test_each_parameter_with_a_gradient_changes_by_its_groups_settings() -> None:
    first, second, idle = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = Descent([{"params": [first, idle]}, {"params": [second], "lr": 0.5}], lr=0.1)
    (first.sum() + 2 * second.sum()).backward()
    optimizer.step()
    assert [p.tolist() for p in (first, second, idle)] == [[torch.tensor(0.9).item()] * 2, [0.0, 0.0], [1.0, 1.0]]
