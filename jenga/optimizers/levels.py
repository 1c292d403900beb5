"""Optimizers side by side that step at periods of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

_SUM, _INNER = "accumulated", "inner"


class Levels(torch.optim.Optimizer):
    """One optimizer a level, each of which steps once a period, by the gradients of all of it.

    This is the update of the continuum memory system (Behrouz, Razaviyayn, Zhong & Mirrokni 2025, "Nested Learning",
    arXiv 2512.24695, section 7.1, equation 71; equation 31 of the paper at NeurIPS): parameters of level l change every
    C(l) steps, by what their optimizer makes of the errors of these steps, and by nothing in between.

    A level's groups hold its settings (`Group.level_period` and the others), alike in each of them. Between its steps
    its weights, and what its optimizer remembers, do not change, by decay neither. The optimizer's own count of steps
    is of those that it has taken. A step that is not taken at all (`Action.SKIP`) adds no gradients and is none of a
    period. A parameter without a gradient in the whole period is handed on without one. At a period of 1 a level is its
    optimizer, bit for bit.

    Groups and state are shared with the optimizers of the levels, for one schedule and one checkpoint. The state of a
    parameter is ``accumulated``, the sum of its gradients so far, in float32 at least, and ``inner``, what the
    optimizer of its level remembers of it.
    """

    def __init__(self, levels: Sequence[torch.optim.Optimizer]) -> None:
        self._levels: tuple[torch.optim.Optimizer, ...] = ()
        super().__init__([group for level in levels for group in level.param_groups], {})
        self._levels = tuple(levels)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take in the gradients, and step the levels whose period ends; closure: None, nothing is computed again."""
        assert closure is None
        for level in self._levels:
            first = level.param_groups[0]
            clock, period = first["level_clock"] + 1, first["level_period"]
            if period > 1:
                self._add(level)
            if clock == period:
                self._fire(level)
            for group in level.param_groups:
                group["level_clock"] = clock % period

    def _add(self, level: torch.optim.Optimizer) -> None:
        sums, gradients = [], []
        for p in _parameters(level):
            if p.grad is None:
                continue
            if _SUM in self.state[p]:
                sums.append(self.state[p][_SUM])
                gradients.append(p.grad)
            else:
                self.state[p][_SUM] = p.grad.to(torch.promote_types(p.dtype, torch.float32), copy=True)
        if sums:
            torch._foreach_add_(sums, gradients)

    def _fire(self, level: torch.optim.Optimizer) -> None:
        """Let the optimizer of a level step by what its gradients come to; those of this step stay where they are."""
        parameters, settings = _parameters(level), level.param_groups[0]
        limit = settings["level_max_grad_norm"]
        if settings["level_period"] == 1 and limit is None:
            self._step(level, parameters)
            return
        own = [p.grad for p in parameters]
        for p, gradient in zip(parameters, self._reduced(parameters, settings), strict=True):
            p.grad = gradient
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(parameters, limit)
        self._step(level, parameters)
        for p, gradient in zip(parameters, own, strict=True):
            p.grad = gradient

    def _reduced(self, parameters: Sequence[torch.nn.Parameter], settings: dict[str, Any]) -> list[torch.Tensor | None]:
        """Return what the gradients of a period come to, in tensors of their own, and forget them."""
        period = settings["level_period"]
        if period == 1:
            return [None if p.grad is None else p.grad.clone() for p in parameters]
        share = 1 / period if settings["level_reduction"] == "mean" else 1.0
        sums = [self.state[p].pop(_SUM, None) for p in parameters]
        return [
            None if total is None else total.mul_(share).to(p.dtype) for p, total in zip(parameters, sums, strict=True)
        ]

    def _step(self, level: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Let the optimizer of a level step, and keep what it remembers in the state of all."""
        # Each time, and not once and for all: a checkpoint that is loaded puts other objects into the state.
        level.state.update({p: self.state[p][_INNER] for p in parameters if _INNER in self.state[p]})
        level.step()
        for p in parameters:
            if p in level.state:
                self.state[p][_INNER] = level.state[p]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over groups and state, as `load_state_dict` hands them."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        begin = 0
        for level in self._levels:
            size = len(level.param_groups)
            level.__setstate__({"param_groups": self.param_groups[begin : begin + size]})
            begin += size


def _parameters(level: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [p for group in level.param_groups for p in group["params"]]
