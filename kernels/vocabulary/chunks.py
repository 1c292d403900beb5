"""The loop of the losses over a vocabulary: logits, losses and gradients of some rows at a time."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..dtypes import accumulate_dtype
from .chunked_linear import ChunkedLinear


class VocabularyLoss(NamedTuple):
    """What every loss needs beside the logits and labels of a chunk; `core::VocabularyLoss` in C++.

    Attributes:
        ignore_index: the label of a row that has none.
        slope_scale: float64 (), what multiplies the slope, not the loss.
        with_slope: whether the logits are turned into their slope, or stay as they are.
    """

    ignore_index: int
    slope_scale: Tensor
    with_slope: bool


LossOfChunk = Callable[[slice, Tensor, VocabularyLoss], Tensor]
"""Losses of some rows, given their place and their logits; see `VocabularyLoss` for what becomes of the logits."""


def auto_chunk_rows(hidden_size: int) -> int:
    """Rows of logits to hold at a time.

    A chunk of C rows holds C V logits beside the V H weight and its gradient, and every chunk reads and writes that
    gradient once, for C V H multiply-adds. C = H / 2 makes the logits half a weight; within 256 to 2048, GEMMs of that
    many rows run as fast as those of all rows.
    """
    return min(max(hidden_size // 2, 256), 2048)


def loss_over_chunks(
    head: ChunkedLinear, targets: Tensor, loss_of_chunk: LossOfChunk, *, ignore_index: int, mean: bool, chunk_rows: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss (), and the gradients of the head's hidden states, weight and bias, no elements where not wanted.

    Chunks of `chunk_rows`, 1 or more, come in order and each is summed alone: the result does not depend on threads.
    """
    # The casts are done: autocast would undo the float32 of the sums.
    with torch.autocast(targets.device.type, enabled=False):
        scale = _mean_scale(targets, ignore_index, mean)
        early, late = _split_scale(scale, head.dtype)
        loss = VocabularyLoss(ignore_index, early, head.wants_gradients)
        total = _sum_over_chunks(head, targets.shape[0], chunk_rows, loss_of_chunk, loss)
        return (total * scale).to(accumulate_dtype(head.dtype)), *head.gradients(late)


def _mean_scale(targets: Tensor, ignore_index: int, mean: bool) -> Tensor:
    """float64 (), what multiplies a sum over rows: 1 / (number of labels, at least 1) for a mean, else 1."""
    count = (targets != ignore_index).sum() if mean else targets.new_ones(())
    return count.clamp(min=1).double().reciprocal()


def _split_scale(scale: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """What multiplies the slopes as they are stored, and what multiplies the finished sums over chunks.

    On the slopes it costs nothing, but in float16 a slope divided by thousands of rows would underflow.
    """
    return (torch.ones_like(scale), scale) if dtype == torch.float16 else (scale, None)


# A function of its own: the buffer is freed before the gradients are cast.
def _sum_over_chunks(
    head: ChunkedLinear, n_rows: int, chunk_rows: int, loss_of_chunk: LossOfChunk, loss: VocabularyLoss
) -> Tensor:
    total = loss.slope_scale.new_zeros(())
    buffer = head.new_logits(min(n_rows, chunk_rows))
    for begin in range(0, n_rows, chunk_rows):
        rows = slice(begin, min(begin + chunk_rows, n_rows))
        logits = head.logits(rows, buffer)
        total += loss_of_chunk(rows, logits, loss).sum(dtype=torch.float64)
        if loss.with_slope:
            head.add_gradients(rows, logits)
    return total
