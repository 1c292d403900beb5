"""A whole LoRA layer in one Triton GEMM, and the choice between it and the base GEMM of cuBLAS.

y = x W^T + (S * scales) B^T + bias: the K loop over x and W, then the loop over the ranks, then one store. Against it:
`expand` writes the small product, and cuBLAS adds x W^T to it. Which is faster depends on the device and the shape.
"""

from collections.abc import Callable
from typing import Literal

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from .triton_tiles import add_product, ceil_div, precision_of, rank_block, rows_class, tuned

Provider = Literal["auto", "addmm", "fused"]
_TIMED_RUNS = 5
_GROUP_ROWS = 8
"""Blocks of rows that go through all the outputs together, so that their x stays in the L2 cache."""


@tuned(
    {"block_m": 128, "block_n": 128, "block_k": 64, "num_warps": 8, "num_stages": 3},
    {"block_m": 128, "block_n": 256, "block_k": 64, "num_warps": 8, "num_stages": 3},
    {"block_m": 64, "block_n": 128, "block_k": 64, "num_warps": 4, "num_stages": 4},
    {"block_m": 64, "block_n": 64, "block_k": 64, "num_warps": 4, "num_stages": 4},
    key=["rows_class", "n_outputs", "n_inputs", "n_ranks"],
)
@triton.jit(do_not_specialize=["rows_class"])
def fused_linear_kernel(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, ranks_ptr, b_ptr, scales_ptr, bias_ptr, to_ptr,
    n_rows, n_outputs, n_inputs, n_ranks,
    x_stride, weight_output_stride, weight_input_stride, ranks_stride, rows_class,
    with_bias: tl.constexpr, precision: tl.constexpr, group_rows: tl.constexpr,
    block_r: tl.constexpr, block_m: tl.constexpr, block_n: tl.constexpr, block_k: tl.constexpr,
):  # fmt: skip
    """x W^T + (S * scales) B^T + bias of a tile of to (M, N), from S (M, R) and B (N, R)."""
    m_blocks, n_blocks = tl.cdiv(n_rows, block_m), tl.cdiv(n_outputs, block_n)
    group, place = tl.program_id(0) // (group_rows * n_blocks), tl.program_id(0) % (group_rows * n_blocks)
    in_group = min(m_blocks - group * group_rows, group_rows)
    rows = (group * group_rows + place % in_group).to(tl.int64) * block_m + tl.arange(0, block_m)
    outputs = (place // in_group).to(tl.int64) * block_n + tl.arange(0, block_n)
    is_row, is_output = (rows < n_rows)[:, None], (outputs < n_outputs)[None, :]
    sums = tl.zeros((block_m, block_n), tl.float32)
    for column in range(0, n_inputs, block_k):
        columns = column + tl.arange(0, block_k)
        inside = columns < n_inputs
        x = tl.load(
            x_ptr + rows[:, None] * x_stride + columns[None, :], mask=is_row & inside[None, :], other=0.0
        )  # fmt: skip
        weight = tl.load(
            weight_ptr + columns[:, None].to(tl.int64) * weight_input_stride + outputs[None, :] * weight_output_stride,
            mask=inside[:, None] & is_output, other=0.0,
        )  # fmt: skip
        sums = add_product(sums, x, weight, precision)
    for rank in range(0, n_ranks, block_r):
        ranks = rank + tl.arange(0, block_r)
        inside = ranks < n_ranks
        values = tl.load(
            ranks_ptr + rows[:, None] * ranks_stride + ranks[None, :], mask=is_row & inside[None, :], other=0.0
        )  # fmt: skip
        values *= tl.load(scales_ptr + ranks, mask=inside, other=0.0)[None, :]
        b = tl.load(b_ptr + outputs[None, :] * n_ranks + ranks[:, None], mask=inside[:, None] & is_output, other=0.0)
        sums = add_product(sums, values.to(b.dtype), b, precision)
    if with_bias:
        sums += tl.load(bias_ptr + outputs, mask=outputs < n_outputs, other=0.0).to(tl.float32)[None, :]
    to = to_ptr + rows[:, None] * n_outputs + outputs[None, :]
    tl.store(to, sums.to(to_ptr.dtype.element_ty), mask=is_row & is_output)


def fused_forward(x: Tensor, weight: Tensor, bias: Tensor | None, ranks: Tensor, b: Tensor, scales: Tensor) -> Tensor:
    """x W^T + (S * scales) B^T + bias in x's dtype: x (M, K), weight (N, K), S float32 (M, R), contiguous B (N, R)."""
    n_rows, n_inputs = x.shape
    n_outputs, n_ranks = b.shape
    to = x.new_empty((n_rows, n_outputs))
    fused_linear_kernel[lambda tile: (ceil_div(n_rows, tile["block_m"]) * ceil_div(n_outputs, tile["block_n"]),)](
        x, weight, ranks, b, scales, bias, to,
        n_rows, n_outputs, n_inputs, n_ranks,
        x.stride(0), *weight.stride(), ranks.stride(0), rows_class(n_rows),
        with_bias=bias is not None, precision=precision_of(x), group_rows=_GROUP_ROWS, block_r=rank_block(n_ranks, 32),
    )  # fmt: skip
    return to


_FASTEST: dict[tuple[object, ...], Provider] = {}


def choose(
    provider: Provider, x: Tensor, weight: Tensor, n_ranks: int, candidates: dict[Provider, Callable[[], Tensor]]
) -> Tensor:
    """The output of the provider that is named; for "auto" of the faster one.

    Auto times both at the first call of a shape (rows by their power of two), which waits for the device, and keeps to
    the faster. Untimed it is addmm: on a CPU; for float32 without tf32, whose base product stays exact; under
    torch.use_deterministic_algorithms, since the two differ in the last bit; while a CUDA graph is captured.
    """
    if provider != "auto":
        return candidates[provider]()
    exact = x.dtype == torch.float32 and precision_of(x) != "tf32"
    if not x.is_cuda or exact or torch.are_deterministic_algorithms_enabled():
        return candidates["addmm"]()
    key = (x.device, x.dtype, rows_class(x.shape[0]), *weight.shape, weight.stride(1) == 1, n_ranks)
    if key not in _FASTEST:
        if torch.cuda.is_current_stream_capturing():
            return candidates["addmm"]()
        times = {name: _milliseconds(run) for name, run in candidates.items()}
        _FASTEST[key] = min(times, key=times.__getitem__)
    return candidates[_FASTEST[key]]()


def _milliseconds(run: Callable[[], Tensor]) -> float:
    run()  # compiles and tunes
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(_TIMED_RUNS):
        run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))
