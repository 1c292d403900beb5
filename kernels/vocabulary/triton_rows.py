"""What the Triton kernels of the losses over a vocabulary do with a row of logits, one program a row."""

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

BLOCK_COLUMNS = 4096
"""Logits a program holds at a time: 16 KiB in float32, of a register file of 256 KiB."""


@triton.jit
def label_of_row(targets_ptr, row, n_columns, ignore_index):  # type: ignore[no-untyped-def]
    """The row's label, whether it is one of the columns, and the loss of a row where it is not."""
    label = tl.load(targets_ptr + row)
    is_label = (label != ignore_index) & (label >= 0) & (label < n_columns)
    return label, is_label, tl.where(label == ignore_index, 0.0, float("nan"))


@triton.jit
def clear_row(row_ptr, n_columns, block_columns: tl.constexpr):  # type: ignore[no-untyped-def]
    """Writes zeros to a row."""
    for begin in range(0, n_columns, block_columns):
        columns = begin + tl.arange(0, block_columns)
        tl.store(row_ptr + columns, tl.zeros((block_columns,), row_ptr.dtype.element_ty), mask=columns < n_columns)


@triton.jit
def softmax_of_row(row_ptr, n_columns, inverse_temperature, block_columns: tl.constexpr, acc_dtype: tl.constexpr):  # type: ignore[no-untyped-def]
    """The largest logit of a row, and the sum of exp((logit - largest) / temperature)."""
    largest = tl.full((block_columns,), float("-inf"), acc_dtype)
    for begin in range(0, n_columns, block_columns):
        columns = begin + tl.arange(0, block_columns)
        logits = tl.load(row_ptr + columns, mask=columns < n_columns, other=float("-inf")).to(acc_dtype)
        largest = tl.maximum(largest, logits)
    row_max = tl.max(largest, axis=0)
    sums = tl.zeros((block_columns,), acc_dtype)
    for begin in range(0, n_columns, block_columns):
        columns = begin + tl.arange(0, block_columns)
        logits = tl.load(row_ptr + columns, mask=columns < n_columns, other=float("-inf")).to(acc_dtype)
        sums += tl.exp((logits - row_max) * inverse_temperature)
    return row_max, tl.sum(sums, axis=0)


def block_columns(n_columns: int) -> int:
    """Columns a program holds at a time: a power of two, as Triton wants it."""
    return min(BLOCK_COLUMNS, 1 << (n_columns - 1).bit_length())
