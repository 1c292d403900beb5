"""Optimizers that step parameter by parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch


class OneByOne(torch.optim.Optimizer, ABC):
    """Steps each parameter that has a gradient by itself, as `change` says."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step; closure: None, there is nothing to compute again."""
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.change(p, p.grad, group)

    @abstractmethod
    def change(self, p: torch.nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        """Change `p` in place, by the settings of its group; what is remembered of it is ``self.state[p]``."""
