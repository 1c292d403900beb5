"""Two optimizers as one: for hidden matrices, and for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Beside(torch.optim.Optimizer):
    """Two optimizers with one list of groups and one state, for one schedule and one checkpoint.

    They share the groups and the state themselves, so that a rate that is set reaches the one that steps by it.
    """

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
        self._parts: tuple[torch.optim.Optimizer, ...] = ()
        super().__init__([*first.param_groups, *second.param_groups], {})
        self._parts, self._split = (first, second), len(first.param_groups)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step of each; closure: None, there is nothing to compute again."""
        assert closure is None
        for part in self._parts:
            part.step()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over groups and state, as `load_state_dict` hands them."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        if not self._parts:
            return
        first, second = self._parts
        first.param_groups, second.param_groups = self.param_groups[: self._split], self.param_groups[self._split :]
        first.state = second.state = self.state
