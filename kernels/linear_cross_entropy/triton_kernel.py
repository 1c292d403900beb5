"""The chunk kernel of `linear_cross_entropy` for CUDA: one program a row, logits replaced by their slope.

Passes over a row: its largest logit; the sum of exponentials; the slope. A row of a chunk that was just written is
mostly in the cache. With TRITON_INTERPRET=1 the same code runs on a CPU, which the tests do.
"""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from ..dtypes import accumulate_dtype
from ..vocabulary.chunks import VocabularyLoss
from ..vocabulary.triton_rows import block_columns, clear_row, label_of_row, softmax_of_row


@triton.jit
def cross_entropy_kernel(  # type: ignore[no-untyped-def]
    logits_ptr, targets_ptr, losses_ptr, settings_ptr,
    n_columns, ignore_index,
    with_slope: tl.constexpr, smooth: tl.constexpr, block_columns: tl.constexpr, acc_dtype: tl.constexpr,
):  # fmt: skip
    """Losses (rows,) and, in place, scale * (softmax - smoothed label) of logits (rows, n_columns), one row a program.

    settings: scale, label_smoothing; in memory, since Triton passes numbers as float32.
    """
    scale = tl.load(settings_ptr).to(acc_dtype)
    label_smoothing = tl.load(settings_ptr + 1).to(acc_dtype)
    row = tl.program_id(0).to(tl.int64)
    row_ptr = logits_ptr + row * n_columns
    label, is_label, loss_without = label_of_row(targets_ptr, row, n_columns, ignore_index)
    if is_label:
        # The branch keeps the address in the row. All warps read it before any can write the slope over it.
        label_logit = tl.load(row_ptr + label).to(acc_dtype)
        tl.debug_barrier()
        row_max, row_sum = softmax_of_row(row_ptr, n_columns, 1.0, block_columns, acc_dtype)
        log_sum = tl.log(row_sum)
        loss = (1.0 - label_smoothing) * (log_sum + row_max - label_logit)
        if smooth:
            below_max = tl.zeros((block_columns,), acc_dtype)
            for begin in range(0, n_columns, block_columns):
                columns = begin + tl.arange(0, block_columns)
                inside = columns < n_columns
                logits = tl.load(row_ptr + columns, mask=inside, other=0.0).to(acc_dtype)
                below_max += tl.where(inside, row_max - logits, 0.0)
            loss += label_smoothing * (log_sum + tl.sum(below_max, axis=0) / n_columns)
        tl.store(losses_ptr + row, loss)
        if with_slope:
            for begin in range(0, n_columns, block_columns):
                columns = begin + tl.arange(0, block_columns)
                inside = columns < n_columns
                logits = tl.load(row_ptr + columns, mask=inside, other=float("-inf")).to(acc_dtype)
                smoothed = tl.where(columns == label, 1.0 - label_smoothing, 0.0) + label_smoothing / n_columns
                slope = scale * (tl.exp(logits - row_max) / row_sum - smoothed)
                tl.store(row_ptr + columns, slope.to(row_ptr.dtype.element_ty), mask=inside)
    else:
        tl.store(losses_ptr + row, loss_without)
        if with_slope:
            clear_row(row_ptr, n_columns, block_columns)


def cross_entropy_(logits: Tensor, targets: Tensor, loss: VocabularyLoss, label_smoothing: float) -> Tensor:
    """Losses (rows,) of contiguous logits (rows, V), which become their slope if wanted."""
    losses = logits.new_empty(targets.shape, dtype=accumulate_dtype(logits.dtype))
    if logits.shape[0] == 0:
        return losses
    scale = loss.slope_scale
    cross_entropy_kernel[(logits.shape[0],)](
        logits, targets.contiguous(), losses, torch.stack([scale, scale.new_full((), label_smoothing)]),
        logits.shape[1], loss.ignore_index,
        with_slope=loss.with_slope, smooth=label_smoothing > 0,
        block_columns=block_columns(logits.shape[1]), num_warps=8,
        acc_dtype=tl.float64 if losses.dtype == torch.float64 else tl.float32,
    )  # fmt: skip
    return losses
