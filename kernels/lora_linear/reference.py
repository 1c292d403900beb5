"""`lora_linear` in plain PyTorch: the truth that tests and benchmarks compare with, and what runs without kernels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .parts import Update

PHILOX_ROUNDS = 7
_GROUP = 64
_WORD = 0xFFFFFFFF
_FACTORS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def dropout_threshold(dropout: float) -> int:
    """Of 65,536 values of 16 random bits, those below it drop an element; the rate is a multiple of 2^-16."""
    return 0 if dropout == 0 else min(65535, max(1, int(dropout * 65536 + 0.5)))


def keep_mask(n_rows: int, n_columns: int, *, dropout: float, seed: int | Tensor, device: torch.device) -> Tensor:
    """Which elements dropout keeps, bool (M, K): Philox4x32-7 (Salmon et al. 2011), 16 bits an element.

    Eight elements share a counter; csrc/core/dropout.h says how.
    """
    key = int(seed)
    columns = torch.arange(n_columns, device=device)
    row = torch.arange(n_rows, device=device)[:, None]
    counters = 8 * (columns // _GROUP) + columns % 8
    words = _philox(counters.expand(n_rows, -1), row & _WORD, row >> 32, (key & _WORD, key >> 32 & _WORD))
    word = torch.stack(words).gather(0, (columns // 8 % 4).expand(1, n_rows, -1))[0]
    bits = torch.where(columns % _GROUP >= 32, word >> 16, word & 0xFFFF)
    return bits >= dropout_threshold(dropout)


def _philox(c0: Tensor, c1: Tensor, c2: Tensor, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    c1, c2 = c1.expand_as(c0), c2.expand_as(c0)
    c3 = torch.zeros_like(c0)
    k0, k1 = key
    for _ in range(PHILOX_ROUNDS):
        (high0, low0), (high1, low1) = _multiply(c0, _FACTORS[0]), _multiply(c2, _FACTORS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1, c2, c3


def _multiply(a: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and lower 32 bits of a * factor, by halves of a: int64 has no unsigned 64-bit product."""
    low_part, high_part = (a & 0xFFFF) * factor, (a >> 16) * factor
    middle = high_part + (low_part >> 16)
    return middle >> 16 & _WORD, ((middle & 0xFFFF) << 16) | (low_part & 0xFFFF)


def lora_linear_reference(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    updates: Sequence[Update],
    *,
    rows: Tensor | None = None,
    dropout: float = 0.0,
    seed: int | Tensor | None = None,
) -> list[Tensor]:
    """Outputs (M, N_i) of linear layers of x (M, K) with low-rank updates, in x's dtype.

    Output i is x W_i^T + b_i + the sum over its updates of scale * (drop(x) A^T) B^T. With `rows`, int64 (M,), an
    update reaches only the rows whose adapter is its own. Adapters and biases are cast to the dtype of x.
    """
    kept = x
    if dropout:
        assert seed is not None
        mask = keep_mask(*x.shape, dropout=dropout, seed=seed, device=x.device)
        kept = x * mask / (1 - dropout_threshold(dropout) / 65536)
    outputs = [
        F.linear(x, weight, None if bias is None else bias.to(x.dtype))
        for weight, bias in zip(weights, biases, strict=True)
    ]
    for update in updates:
        added = kept @ update.lora_a.to(x.dtype).t() @ update.lora_b.to(x.dtype).t() * update.scale
        if rows is not None:
            added = added * (rows == update.adapter)[:, None]
        outputs[update.projection] = outputs[update.projection] + added.to(x.dtype)
    return outputs
