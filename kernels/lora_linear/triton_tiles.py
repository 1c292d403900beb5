"""How the Triton kernels of `lora_linear` are cut into tiles and tuned, and the masks of a tile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from .reference import PHILOX_ROUNDS

RANK_BLOCK = 64
"""Ranks a program holds at a time, at most."""

# Its products of bfloat16 are wrong: it has them as uint16, in NumPy, which knows no such type.
_INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
_ROUNDS = tl.constexpr(PHILOX_ROUNDS)
_SPLIT = 128
"""Parts of a split sum begin at multiples of it, which every tile along a sum divides, as does dropout's group."""


@dataclass(frozen=True)
class Dropout:
    """Elements of 16 random bits below `threshold`, of 65,536, are dropped; `seed` is int64 (), on the device."""

    threshold: int
    seed: Tensor


@dataclass(frozen=True)
class Routing:
    """A row sees the ranks of its adapter: `rows` int64 (M,), `adapters` int64 (R,)."""

    rows: Tensor
    adapters: Tensor


@triton.jit
def add_product(sums, a, b, precision: tl.constexpr):  # type: ignore[no-untyped-def]
    """sums + a b in float32."""
    if _INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, sums, input_precision=precision)


@triton.jit
def keep_tile(seed_ptr, threshold, rows, first_column, block_k: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which elements dropout keeps, (rows, block_k), where first_column is a multiple of 64: core/dropout.h."""
    seed = tl.load(seed_ptr)
    counters: tl.constexpr = block_k // 8
    c0 = (first_column // 8 + tl.arange(0, counters)).to(tl.uint32)[None, :]
    c1 = rows.to(tl.uint32)[:, None]
    c2 = (rows >> 32).to(tl.uint32)[:, None]
    c3 = tl.zeros((1, 1), tl.uint32)
    w0, w1, w2, w3 = tl.philox_impl(c0, c1, c2, c3, seed.to(tl.uint32), (seed >> 32).to(tl.uint32), n_rounds=_ROUNDS)
    # (row, counter, word / 2, word % 2, half), and a counter is (group, lane).
    words = tl.join(tl.join(w0, w2), tl.join(w1, w3))
    keeps = tl.join((words & 0xFFFF) >= threshold, (words >> 16) >= threshold)
    keeps = tl.reshape(keeps, (rows.shape[0], counters // 8, 8, 2, 2, 2))
    return tl.reshape(tl.permute(keeps, (0, 1, 5, 3, 4, 2)), (rows.shape[0], block_k))


@triton.jit
def seen_tile(rows_ptr, adapters_ptr, rows, ranks, n_rows, n_ranks):  # type: ignore[no-untyped-def]
    """Which ranks are of their row's adapter, (rows, ranks)."""
    adapter_of_row = tl.load(rows_ptr + rows, mask=rows < n_rows, other=-1)
    adapter_of_rank = tl.load(adapters_ptr + ranks, mask=ranks < n_ranks, other=-1)
    return adapter_of_row[:, None] == adapter_of_rank[None, :]


def tuned(*tiles: dict[str, int], key: Sequence[str]) -> Callable[[Any], Any]:
    """Let Triton time the tiles once for each value of the arguments named in `key`, and keep the fastest.

    Under torch.use_deterministic_algorithms, and in the interpreter, the first is taken untimed: another tile may add
    in another order.
    """
    configs = [
        triton.Config(
            {name: size for name, size in tile.items() if name.startswith("block")},
            num_warps=tile["num_warps"], num_stages=tile["num_stages"],
        )
        for tile in tiles
    ]  # fmt: skip
    if triton.knobs.runtime.interpret:
        configs = configs[:1]

    def allowed(configs: list[Any], arguments: dict[str, Any], **_: Any) -> list[Any]:
        return configs[:1] if torch.are_deterministic_algorithms_enabled() else configs

    decorate: Callable[[Any], Any] = triton.autotune(
        configs=configs, key=list(key), prune_configs_by={"early_config_prune": allowed}
    )
    return decorate


def ceil_div(length: int, block: int) -> int:
    """How many blocks cover a length."""
    return -(-length // block)


def rank_block(n_ranks: int, most: int) -> int:
    """Ranks a program holds at a time: a power of two, at least 16, as tensor cores want it."""
    return int(min(max(16, triton.next_power_of_2(n_ranks)), most))


def rows_class(n_rows: int) -> int:
    """Numbers of rows are tuned for by their power of two: batches differ in length."""
    return n_rows.bit_length()


def precision_of(tensor: Tensor) -> str:
    """Triton's name of how float32 products are computed; other dtypes have no choice.

    Where torch allows no tf32: as three of them, which keep 22 bits of each factor (24 are exact). Exact ones have no
    tensor cores; sums of many terms round more than that.
    """
    return "tf32" if tensor.is_cuda and torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"


@lru_cache
def n_programs(device: torch.device) -> int:
    """How many programs fill a device: two for each of its processors. A few for the interpreter."""
    if device.type != "cuda":
        return 8
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count


def n_parts(like: Tensor, programs: int, length: int) -> int:
    """Into how many parts a sum of `length` terms is split, where that many programs would run without."""
    return max(1, min(n_programs(like.device) // max(1, programs), ceil_div(length, 4 * _SPLIT)))


def split_length(length: int, parts: int) -> int:
    """Terms in each part of a split sum."""
    return ceil_div(ceil_div(length, parts), _SPLIT) * _SPLIT


def sum_of_parts(parts: Tensor) -> Tensor:
    """The sum over the first dimension, in a fixed order."""
    return parts[0] if parts.shape[0] == 1 else parts.sum(0)


def threshold_of(dropout: Dropout | None) -> int:
    """0 where nothing is dropped."""
    return 0 if dropout is None else dropout.threshold


def routing_of(routing: Routing | None) -> tuple[Tensor | None, Tensor | None]:
    """Rows and adapters, as the kernels take them."""
    return (None, None) if routing is None else (routing.rows, routing.adapters)
