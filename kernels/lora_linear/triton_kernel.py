"""The skinny products of `lora_linear`'s forward pass for CUDA, each beside the function that launches it.

With R ranks of all the updates of a call side by side, x (M, K) is read once for S = drop(x) A^T (M, R). With
TRITON_INTERPRET=1 the same code runs on a CPU, which the tests do.
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
    {"block_m": 64, "block_k": 64, "num_warps": 4, "num_stages": 3},
    {"block_m": 64, "block_k": 128, "num_warps": 4, "num_stages": 3},
    {"block_m": 128, "block_k": 64, "num_warps": 8, "num_stages": 3},
    {"block_m": 32, "block_k": 64, "num_warps": 4, "num_stages": 4},
    key=["rows_class", "n_inputs", "n_ranks", "with_dropout"],
)
@triton.jit(do_not_specialize=["rows_class", "threshold"])
def project_kernel(  # type: ignore[no-untyped-def]
    x_ptr, a_ptr, seed_ptr, rows_ptr, adapters_ptr, to_ptr,
    n_rows, n_inputs, n_ranks, x_stride, split_inputs, threshold, rows_class,
    with_dropout: tl.constexpr, with_rows: tl.constexpr, precision: tl.constexpr,
    block_r: tl.constexpr, block_m: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """drop(x) A^T of a block of rows and a part of the inputs, into to (parts, M, R)."""
    rows = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    ranks = tl.program_id(2) * block_r + tl.arange(0, block_r)
    first = tl.program_id(1) * split_inputs
    sums = tl.zeros((block_m, block_r), tl.float32)
    for column in range(first, min(first + split_inputs, n_inputs), block_k):
        columns = column + tl.arange(0, block_k)
        inside = columns < n_inputs
        x = tl.load(
            x_ptr + rows[:, None] * x_stride + columns[None, :],
            mask=(rows < n_rows)[:, None] & inside[None, :], other=0.0,
        )  # fmt: skip
        if with_dropout:
            x = tl.where(keep_tile(seed_ptr, threshold, rows, column, block_k), x, 0.0)
        a = tl.load(
            a_ptr + ranks[None, :].to(tl.int64) * n_inputs + columns[:, None],
            mask=inside[:, None] & (ranks < n_ranks)[None, :], other=0.0,
        )  # fmt: skip
        sums = add_product(sums, x, a, precision)
    if with_rows:
        sums = tl.where(seen_tile(rows_ptr, adapters_ptr, rows, ranks, n_rows, n_ranks), sums, 0.0)
    to = to_ptr + (tl.program_id(1) * n_rows + rows)[:, None] * n_ranks + ranks[None, :]
    tl.store(to, sums, mask=(rows < n_rows)[:, None] & (ranks < n_ranks)[None, :])


def project(x: Tensor, a: Tensor, dropout: Dropout | None, routing: Routing | None) -> Tensor:
    """S = drop(x) A^T, float32 (M, R), of x (M, K) and contiguous A (R, K); 0 for ranks that a row does not see."""
    n_rows, n_inputs = x.shape
    n_ranks = a.shape[0]
    # Few rows are few programs: then the sum over the inputs is split.
    block_r = rank_block(n_ranks, 2 * RANK_BLOCK)
    parts = n_parts(x, ceil_div(n_rows, 64) * ceil_div(n_ranks, block_r), n_inputs)
    to = x.new_empty((parts, n_rows, n_ranks), dtype=torch.float32)
    project_kernel[lambda tile: (ceil_div(n_rows, tile["block_m"]), parts, ceil_div(n_ranks, block_r))](
        x, a, None if dropout is None else dropout.seed, *routing_of(routing), to,
        n_rows, n_inputs, n_ranks, x.stride(0), split_length(n_inputs, parts), threshold_of(dropout),
        rows_class(n_rows),
        with_dropout=dropout is not None, with_rows=routing is not None, precision=precision_of(x), block_r=block_r,
    )  # fmt: skip
    return sum_of_parts(to)


@tuned(
    {"block_m": 64, "block_n": 128, "num_warps": 4, "num_stages": 2},
    {"block_m": 128, "block_n": 64, "num_warps": 4, "num_stages": 2},
    {"block_m": 128, "block_n": 128, "num_warps": 8, "num_stages": 2},
    {"block_m": 32, "block_n": 128, "num_warps": 4, "num_stages": 2},
    key=["rows_class", "n_outputs", "n_ranks", "with_dropout"],
)
@triton.jit(do_not_specialize=["rows_class", "threshold"])
def expand_kernel(  # type: ignore[no-untyped-def]
    ranks_ptr, weight_ptr, scales_ptr, bias_ptr, seed_ptr, to_ptr,
    n_rows, n_outputs, n_ranks, ranks_stride, weight_rank_stride, weight_output_stride, threshold, rows_class,
    with_scales: tl.constexpr, with_bias: tl.constexpr, with_dropout: tl.constexpr, precision: tl.constexpr,
    block_r: tl.constexpr, block_m: tl.constexpr, block_n: tl.constexpr,
):  # fmt: skip
    """keep * (ranks * scales) weight + bias of a tile of to (M, N), from ranks (M, R) and weight (R, N)."""
    rows = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    outputs = tl.program_id(1) * block_n + tl.arange(0, block_n)
    sums = tl.zeros((block_m, block_n), tl.float32)
    for rank in range(0, n_ranks, block_r):
        ranks = rank + tl.arange(0, block_r)
        values = tl.load(
            ranks_ptr + rows[:, None] * ranks_stride + ranks[None, :],
            mask=(rows < n_rows)[:, None] & (ranks < n_ranks)[None, :], other=0.0,
        )  # fmt: skip
        if with_scales:
            values *= tl.load(scales_ptr + ranks, mask=ranks < n_ranks, other=0.0)[None, :]
        weight = tl.load(
            weight_ptr + ranks[:, None].to(tl.int64) * weight_rank_stride
            + outputs[None, :].to(tl.int64) * weight_output_stride,
            mask=(ranks < n_ranks)[:, None] & (outputs < n_outputs)[None, :], other=0.0,
        )  # fmt: skip
        sums = add_product(sums, values.to(weight.dtype), weight, precision)
    if with_bias:
        sums += tl.load(bias_ptr + outputs, mask=outputs < n_outputs, other=0.0).to(tl.float32)[None, :]
    if with_dropout:
        sums = tl.where(keep_tile(seed_ptr, threshold, rows, tl.program_id(1) * block_n, block_n), sums, 0.0)
    tl.store(
        to_ptr + rows[:, None] * n_outputs + outputs[None, :], sums.to(to_ptr.dtype.element_ty),
        mask=(rows < n_rows)[:, None] & (outputs < n_outputs)[None, :],
    )  # fmt: skip


def expand(
    ranks: Tensor, weight: Tensor, *, scales: Tensor | None, bias: Tensor | None, dropout: Dropout | None
) -> Tensor:
    """keep * (ranks * scales) weight + bias, (M, N) in weight's dtype: ranks float32 (M, R), weight (R, N)."""
    n_rows, n_ranks = ranks.shape
    n_outputs = weight.shape[1]
    to = weight.new_empty((n_rows, n_outputs))
    expand_kernel[lambda tile: (ceil_div(n_rows, tile["block_m"]), ceil_div(n_outputs, tile["block_n"]))](
        ranks, weight, scales, bias, None if dropout is None else dropout.seed, to,
        n_rows, n_outputs, n_ranks, ranks.stride(0), *weight.stride(), threshold_of(dropout), rows_class(n_rows),
        with_scales=scales is not None, with_bias=bias is not None, with_dropout=dropout is not None,
        precision=precision_of(weight), block_r=rank_block(n_ranks, RANK_BLOCK),
    )  # fmt: skip
    return to
