"""Orthogonalised matrices, as optimizers use them in place of momentum."""

from __future__ import annotations

import math

import torch

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of Muon (Jordan et al. 2024): steep at 0, so that few steps bring all singular values near to 1, not quite there."""

MATCH_ADAMW = 0.2
"""What an orthogonalised (n, d) is multiplied by, with sqrt(max(n, d)), for AdamW's size (Liu et al. 2025, 2.2)."""


def as_matrix(tensor: torch.Tensor) -> torch.Tensor:
    """Return a view ``(n, d)`` of `tensor`: the first dimension by all others; a vector is one column, ``(n, 1)``."""
    return tensor.reshape(len(tensor), -1) if tensor.ndim else tensor.reshape(1, 1)


def newton_schulz(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """Return the ``(n, d)`` next to `matrix` whose singular values are about 1, by Muon's quintic in so many `steps`.

    What is 0 stays 0, and the scale of `matrix` does not matter. It is computed, and returned, in float32 at least.
    """
    found: torch.Tensor = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    found = found / torch.linalg.vector_norm(found).clamp_min(torch.finfo(found.dtype).tiny)
    tall = found.shape[0] > found.shape[1]
    found = found.T if tall else found
    a, b, c = _COEFFICIENTS
    for _ in range(steps):
        gram = found @ found.T
        found = a * found + (b * gram + c * gram @ gram) @ found
    return found.T if tall else found


def adamw_scale(matrix: torch.Tensor) -> float:
    """Return what an orthogonalised ``(n, d)`` is multiplied by for the size of AdamW's steps."""
    return MATCH_ADAMW * math.sqrt(max(matrix.shape))
