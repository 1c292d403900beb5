"""The weights by which a model is judged and saved, where they are not those that are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from jenga.optimizers.traits import swaps_weights

_WARM_UP = 10
"""A short run's average forgets the first weights: its decay is (1 + t) / (10 + t) at most, t averages on."""


class Average:
    """A moving average of `tensors` by name, in float32 at least: ``a <- decay * a + (1 - decay) * tensor``."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], decay: float) -> None:
        self.tensors, self.decay, self.updates = dict(tensors), decay, 0
        self.values = {
            name: each.detach().to(torch.promote_types(each.dtype, torch.float32), copy=True)
            for name, each in tensors.items()
        }

    @torch.no_grad()
    def add(self) -> None:
        """Take in what the tensors are now."""
        decay = min(self.decay, (1 + self.updates) / (_WARM_UP + self.updates))
        self.updates += 1
        now = [each.to(self.values[name].dtype) for name, each in self.tensors.items()]
        torch._foreach_lerp_(list(self.values.values()), now, 1 - decay)

    def restore(self, values: Mapping[str, torch.Tensor], updates: int) -> None:
        """Go on from `values` after so many `updates`."""
        self.updates = updates
        for name, each in values.items():
            self.values[name].copy_(each)


class Judged:
    """Which of two sets of weights stand in a model: the trained ones, or those that it is judged and saved by.

    They differ where a moving average is kept (`decay`, as in ``training.ema``), and where the optimizer has weights of
    its own for evaluations, as schedule-free ones do; elsewhere nothing is copied. The trained ones come back bit for
    bit, so that training is the same however often it is judged. `tensors`: those that may differ, by name.
    """

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer, *, decay: float | None
    ) -> None:
        self.tensors = dict(tensors)
        floating = {name: each for name, each in tensors.items() if each.is_floating_point()}
        self.average = None if decay is None else Average(floating, decay)
        self.swapping = optimizer if swaps_weights(type(optimizer)) else None
        self._trained: dict[str, torch.Tensor] | None = None

    @contextmanager
    def shown(self) -> Iterator[bool]:
        """Let the judged weights stand in the model; tells whether they were not there already."""
        if self._trained is not None or (self.average is None and self.swapping is None):
            yield False
            return
        self._trained = self._copies()
        self._show()
        try:
            yield True
        finally:
            self._hide()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Let the trained weights stand in the model, within `shown` too."""
        if self._trained is None:
            yield
            return
        judged = self._copies()
        self._hide()
        try:
            yield
        finally:
            self._trained = self._copies()
            self._show()
            self._put(judged)

    def _show(self) -> None:
        if self.swapping is not None:
            self.swapping.eval()  # type: ignore[attr-defined]
        if self.average is not None:
            self._put(self.average.values)

    def _hide(self) -> None:
        assert self._trained is not None
        if self.swapping is not None:
            self.swapping.train()  # type: ignore[attr-defined]
        self._put(self._trained)
        self._trained = None

    def _copies(self) -> dict[str, torch.Tensor]:
        return {name: each.detach().clone() for name, each in self.tensors.items()}

    @torch.no_grad()
    def _put(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self.tensors[name].copy_(value)


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Leave the statistics of batch normalisation as they are, whatever the model is shown within."""
    buffers = [buffer for layer in batch_norms(model).values() for buffer in layer.buffers(recurse=False)]
    before = [each.clone() for each in buffers]
    try:
        yield
    finally:
        for buffer, each in zip(buffers, before, strict=True):
            buffer.copy_(each)


def judged_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return what may differ between training and judging: what is trained, and statistics of batch normalisation."""
    found: dict[str, torch.Tensor] = {name: each for name, each in model.named_parameters() if each.requires_grad}
    for name, module in batch_norms(model).items():
        found |= {f"{name}.{each}": buffer for each, buffer in module.named_buffers(recurse=False)}
    return found


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return the layers of batch normalisation that keep statistics, by name."""
    return {
        name: each
        for name, each in model.named_modules()
        if isinstance(each, _BatchNorm) and each.running_mean is not None
    }
