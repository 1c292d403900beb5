"""DoRA: a LoRA layer whose rows of the weight are scaled to a learned magnitude."""

import torch
from torch import Tensor

from ..dtypes import accumulate_dtype
from .op import lora_linear
from .parts import FrozenWeight


def dora_linear(
    x: Tensor,
    weight: Tensor | FrozenWeight,
    bias: Tensor | None,
    lora_a: Tensor,
    lora_b: Tensor,
    magnitude: Tensor,
    *,
    scale: float,
    dropout: float = 0.0,
    seed: int | Tensor | None = None,
    weight_square: Tensor | None = None,
) -> Tensor:
    """x V^T + b, where V = W + scale * B A with its rows scaled to `magnitude` (Liu et al. 2024, equation 5).

    The rows' norms count as constants in the gradient (section 4.3 there). Dropout reaches the update alone, not the
    base weight's share, which a second base GEMM over dropped inputs would cost.

    Args:
        magnitude: (N,), usually trained.
        weight_square: (N,) float32, `row_square(weight)` where the caller keeps it; a frozen weight has one.

    See `lora_linear` for the rest, and for what is raised.
    """
    update = lora_linear(x, weight, None, lora_a, lora_b, scale=scale, dropout=dropout, seed=seed)
    norm = row_norm(weight, lora_a, lora_b, scale=scale, weight_square=weight_square)
    factor = (magnitude / norm).to(update.dtype)
    return update * factor if bias is None else torch.addcmul(bias.to(update.dtype), update, factor)


def row_square(weight: Tensor) -> Tensor:
    """Squared norms of the rows of a (N, K) weight, (N,) float32; float64 for float64."""
    dense = weight.detach().to(accumulate_dtype(weight.dtype))
    return (dense * dense).sum(1)


@torch.no_grad()
def row_norm(
    weight: Tensor | FrozenWeight, lora_a: Tensor, lora_b: Tensor, *, scale: float, weight_square: Tensor | None = None
) -> Tensor:
    """Norms (N,) of the rows of W + scale * B A, of which B A, an (N, K) matrix, is never made.

    ||w + s b A||^2 = ||w||^2 + 2 s b (A w) + s^2 b (A A^T) b^T for each row.
    """
    dense = weight if isinstance(weight, Tensor) else weight()
    dtype = accumulate_dtype(dense.dtype)
    a, b = lora_a.to(dtype), lora_b.to(dtype)
    with torch.autocast(dense.device.type, enabled=False):
        square = row_square(dense) if weight_square is None else weight_square
        cross = (dense @ lora_a.to(dense.dtype).t()).to(dtype) * b
        own = b @ (a @ a.t()) * b
        # Rounding may take the square of an all but cancelled row below 0.
        return (square + (2 * scale * cross + scale * scale * own).sum(1)).clamp_min(0).sqrt()
