"""The losses of one chunk of student and teacher logits; the student's are turned in place into their slope.

C++ on a CPU, Triton on CUDA.
"""

import torch
from torch import Tensor

from ..linear_cross_entropy.chunk_losses import check_triton


def distillation_of_chunk(
    logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    alpha: float,
    temperature: float,
    divergence: int,
    ignore_index: int,
    scale: Tensor,
    with_slope: bool,
) -> Tensor:
    """Losses (rows,) of student logits (rows, Vs), which become `scale` times their slope if `with_slope`.

    teacher_logits: (rows, Vt), may hold -infinity. divergence: the place of its name in `DIVERGENCES`. A label out of
    range gives the loss NaN and slope 0: the caller reports it.
    """
    if logits.device.type == "cpu":
        losses: Tensor = torch.ops.jenga.vocabulary_distillation_(
            logits, teacher_logits, targets, alpha, temperature, divergence, ignore_index, float(scale), with_slope
        )
        return losses
    check_triton("linear_distillation")
    from . import triton_kernel

    losses = triton_kernel.distillation_(
        logits, teacher_logits, targets,
        alpha=alpha, temperature=temperature, divergence=divergence,
        ignore_index=ignore_index, scale=scale, with_slope=with_slope,
    )  # fmt: skip
    return losses
