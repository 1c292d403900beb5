"""The skinny products of `lora_linear`'s backward pass for CUDA, each beside the function that launches it.

Each dY (M, N) is read once for dS = dY B and dB = dY^T S. Sums over rows, and sums that are split to fill the device,
are partial sums in memory and then one sum in a fixed order: no atomics.
"""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from .triton_tiles import (
    RANK_BLOCK,
    Dropout,
    Routing,
    add_product,
    ceil_div,
    keep_tile,
    n_parts,
    precision_of,
    rank_block,
    routing_of,
    rows_class,
    seen_tile,
    split_length,
    sum_of_parts,
    threshold_of,
    tuned,
)


@tuned(
    {"block_n": 64, "num_warps": 4, "num_stages": 2},
    {"block_n": 64, "num_warps": 8, "num_stages": 2},
    {"block_n": 32, "num_warps": 4, "num_stages": 3},
    key=["rows_class", "n_outputs", "n_ranks", "with_dranks", "with_db"],
)
@triton.jit(do_not_specialize=["rows_class"])
def output_gradient_kernel(  # type: ignore[no-untyped-def]
    grad_ptr, b_ptr, ranks_ptr, scales_ptr, rows_ptr, adapters_ptr, dranks_ptr, db_ptr,
    n_rows, n_outputs, n_ranks, grad_stride, ranks_stride, dranks_part_stride, split_outputs, rows_class,
    with_rows: tl.constexpr, with_dranks: tl.constexpr, with_db: tl.constexpr, precision: tl.constexpr,
    block_r: tl.constexpr, block_m: tl.constexpr, block_n: tl.constexpr,
):  # fmt: skip
    """Of a block of rows and a part of the outputs of dY: dranks (parts, M, R) and db (blocks of rows, N, R)."""
    rows = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    ranks = tl.program_id(2) * block_r + tl.arange(0, block_r)
    inside = (rows < n_rows)[:, None] & (ranks < n_ranks)[None, :]
    scales = tl.load(scales_ptr + ranks, mask=ranks < n_ranks, other=0.0)[None, :]
    values = tl.zeros((block_m, block_r), tl.float32)
    if with_db:
        values = tl.load(ranks_ptr + rows[:, None] * ranks_stride + ranks[None, :], mask=inside, other=0.0)
    values = values.to(grad_ptr.dtype.element_ty)
    dranks = tl.zeros((block_m, block_r), tl.float32)
    first = tl.program_id(1) * split_outputs
    for output in range(first, min(first + split_outputs, n_outputs), block_n):
        outputs = output + tl.arange(0, block_n)
        of_b = outputs[:, None].to(tl.int64) * n_ranks + ranks[None, :]
        inside_b = (outputs < n_outputs)[:, None] & (ranks < n_ranks)[None, :]
        grad = tl.load(
            grad_ptr + rows[:, None] * grad_stride + outputs[None, :],
            mask=(rows < n_rows)[:, None] & (outputs < n_outputs)[None, :], other=0.0,
        )  # fmt: skip
        if with_dranks:
            b = tl.load(b_ptr + of_b, mask=inside_b, other=0.0)
            dranks = add_product(dranks, grad, b, precision)
        if with_db:
            db = add_product(tl.zeros((block_n, block_r), tl.float32), tl.trans(grad), values, precision) * scales
            tl.store(db_ptr + tl.program_id(0).to(tl.int64) * n_outputs * n_ranks + of_b, db, mask=inside_b)
    if with_dranks:
        dranks *= scales
        if with_rows:
            dranks = tl.where(seen_tile(rows_ptr, adapters_ptr, rows, ranks, n_rows, n_ranks), dranks, 0.0)
        to = dranks_ptr + tl.program_id(1).to(tl.int64) * dranks_part_stride
        tl.store(to + rows[:, None] * ranks_stride + ranks[None, :], dranks, mask=inside)


def output_gradient(
    grad: Tensor,
    b: Tensor,
    ranks: Tensor,
    scales: Tensor,
    *,
    routing: Routing | None,
    dranks: Tensor | None,
    wants_b: bool,
) -> Tensor | None:
    """Writes dS = scales * dY B into dranks (parts, M, R) if given; returns dB = scales * dY^T S, float32 (N, R).

    Args:
        grad: dY (M, N), B: (N, R) contiguous in the same dtype. ranks: S, float32 (M, R), a view as dranks is.
    """
    n_rows, n_outputs = grad.shape
    n_ranks = b.shape[1]
    block_r = rank_block(n_ranks, RANK_BLOCK)
    block_m = rows_per_sum(grad, n_ranks)
    blocks = ceil_div(n_rows, block_m)
    parts = output_parts(grad, n_ranks) if dranks is None else dranks.shape[0]
    db = grad.new_empty((blocks, n_outputs, n_ranks), dtype=torch.float32) if wants_b else None
    output_gradient_kernel[(blocks, parts, ceil_div(n_ranks, block_r))](
        grad, b, ranks, scales, *routing_of(routing), dranks, db,
        n_rows, n_outputs, n_ranks, grad.stride(0), ranks.stride(0), 0 if dranks is None else dranks.stride(0),
        split_length(n_outputs, parts), rows_class(n_rows),
        with_rows=routing is not None, with_dranks=dranks is not None, with_db=wants_b,
        precision=precision_of(grad), block_r=block_r, block_m=block_m,
    )  # fmt: skip
    return None if db is None else sum_of_parts(db)


def rows_per_sum(grad: Tensor, n_ranks: int) -> int:
    """Rows of dY that a program sums over for dB; the more, the fewer partial sums, and the more registers."""
    most = 128 if grad.dtype == torch.float32 else 256
    wanted = most * 16 // rank_block(n_ranks, RANK_BLOCK)
    return int(min(max(wanted, 64), max(16, triton.next_power_of_2(grad.shape[0]))))


def output_parts(grad: Tensor, n_ranks: int) -> int:
    """Into how many parts the sum over the outputs is split for dS."""
    return n_parts(grad, ceil_div(grad.shape[0], rows_per_sum(grad, n_ranks)), grad.shape[1])


@tuned(
    {"block_m": 64, "block_k": 64, "num_warps": 4, "num_stages": 3},
    {"block_m": 32, "block_k": 128, "num_warps": 4, "num_stages": 3},
    {"block_m": 64, "block_k": 128, "num_warps": 8, "num_stages": 2},
    key=["rows_class", "n_inputs", "n_ranks", "with_dropout"],
)
@triton.jit(do_not_specialize=["rows_class", "threshold"])
def a_gradient_kernel(  # type: ignore[no-untyped-def]
    x_ptr, dranks_ptr, seed_ptr, da_ptr,
    n_rows, n_inputs, n_ranks, x_stride, split_rows, threshold, rows_class,
    with_dropout: tl.constexpr, precision: tl.constexpr,
    block_r: tl.constexpr, block_m: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """dS^T drop(x) of a block of inputs and a part of the rows, into da (parts, R, K)."""
    column = tl.program_id(0) * block_k
    columns = column + tl.arange(0, block_k)
    ranks = tl.program_id(2) * block_r + tl.arange(0, block_r)
    sums = tl.zeros((block_k, block_r), tl.float32)
    first = tl.program_id(1).to(tl.int64) * split_rows
    for row in range(first, min(first + split_rows, n_rows), block_m):
        rows = row + tl.arange(0, block_m).to(tl.int64)
        x = tl.load(
            x_ptr + rows[:, None] * x_stride + columns[None, :],
            mask=(rows < n_rows)[:, None] & (columns < n_inputs)[None, :], other=0.0,
        )  # fmt: skip
        if with_dropout:
            x = tl.where(keep_tile(seed_ptr, threshold, rows, column, block_k), x, 0.0)
        dranks = tl.load(
            dranks_ptr + rows[:, None] * n_ranks + ranks[None, :],
            mask=(rows < n_rows)[:, None] & (ranks < n_ranks)[None, :], other=0.0,
        )  # fmt: skip
        sums = add_product(sums, tl.trans(x), dranks.to(x.dtype), precision)
    to = da_ptr + (tl.program_id(1) * n_ranks + ranks)[None, :].to(tl.int64) * n_inputs + columns[:, None]
    tl.store(to, sums, mask=(columns < n_inputs)[:, None] & (ranks < n_ranks)[None, :])


def a_gradient(x: Tensor, dranks: Tensor, dropout: Dropout | None) -> Tensor:
    """dA = dS^T drop(x), float32 (R, K), of x (M, K) and contiguous dS, float32 (M, R)."""
    n_rows, n_inputs = x.shape
    n_ranks = dranks.shape[1]
    block_r = rank_block(n_ranks, RANK_BLOCK)
    parts = n_parts(x, ceil_div(n_inputs, 64) * ceil_div(n_ranks, block_r), n_rows)
    to = x.new_empty((parts, n_ranks, n_inputs), dtype=torch.float32)
    a_gradient_kernel[lambda tile: (ceil_div(n_inputs, tile["block_k"]), parts, ceil_div(n_ranks, block_r))](
        x, dranks, None if dropout is None else dropout.seed, to,
        n_rows, n_inputs, n_ranks, x.stride(0), split_length(n_rows, parts), threshold_of(dropout), rows_class(n_rows),
        with_dropout=dropout is not None, precision=precision_of(x), block_r=block_r,
    )  # fmt: skip
    return sum_of_parts(to)
