"""Long recordings in windows: where they begin, and how what is heard in them becomes one vector a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.checkpoint import checkpoint

from jenga.types import BackboneOutput

WINDOWS_AT_ONCE = 8
"""Windows whose activations are held at a time, however many a batch has."""

_ROUNDED_S = 1e-6
"""By which seconds that are sums may be off; a sample takes longer."""

Hear = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def starts(seconds: float, window: float, stride: float, *, least: float) -> Iterator[float]:
    """Yield the second at which each window of a recording begins: the first one at 0, the last one reaches its end.

    least: seconds of a rest that is worth a window of its own.
    """
    at = 0
    while not at or at * stride + least <= seconds + _ROUNDED_S:
        yield at * stride
        if at * stride + window >= seconds - _ROUNDED_S:
            return
        at += 1


def pooled_by_row(hear: Hear, values: torch.Tensor, mask: torch.Tensor, *, forget: bool) -> BackboneOutput:
    """Return what `hear` makes of windows ``(B, W, ..., T)`` with their mask ``(B, W, T)``, which is 0 where none is.

    hear: called with some windows ``(N, ..., T)`` and their mask, returns their vectors ``(N, H)`` and the logarithms
    of their weights ``(N,)``. The row's vector is the mean by these weights: with the mean over a window's frames and
    the logarithm of their number it is the mean over the frames of all. Positions of the output are windows.

    forget: compute the activations of `WINDOWS_AT_ONCE` windows again in the backward pass, rather than hold all.
    """
    there = mask.any(-1)
    heard = []
    for some, own in zip(values[there].split(WINDOWS_AT_ONCE), mask[there].split(WINDOWS_AT_ONCE), strict=True):
        heard.append(checkpoint(hear, some, own, use_reentrant=False) if forget else hear(some, own))
    vectors, weights = (torch.cat(each) for each in zip(*heard, strict=True))
    hidden = vectors.new_zeros(*there.shape, vectors.shape[-1])
    hidden[there] = vectors
    shares = weights.new_full(there.shape, -torch.inf)
    shares[there] = weights
    pooled = (hidden * shares.softmax(1).unsqueeze(-1)).sum(1)
    return BackboneOutput(hidden, pooled, there.long())
