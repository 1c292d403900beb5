"""The losses of one chunk of student and teacher logits; the student's are turned in place into their slope.

C++ on a CPU, Triton on CUDA.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .._native import check_triton
from ..vocabulary.chunks import VocabularyLoss


class Distillation(NamedTuple):
    """What the loss of a row is made of; `core::Distillation` in C++.

    Attributes:
        alpha: the loss is (1 - alpha) cross-entropy + alpha temperature^2 divergence.
        divergence: the place of its name in `DIVERGENCES`.
    """

    alpha: float
    temperature: float
    divergence: int


def distillation_of_chunk(
    logits: Tensor, teacher_logits: Tensor, targets: Tensor, loss: VocabularyLoss, distillation: Distillation
) -> Tensor:
    """Losses (rows,) of student logits (rows, Vs), which become `loss.slope_scale` times their slope if wanted.

    teacher_logits: (rows, Vt), may hold -infinity. A label out of range gives the loss NaN and slope 0: the caller
    reports it.
    """
    if logits.device.type == "cpu":
        losses: Tensor = torch.ops.jenga.vocabulary_distillation_(
            logits, teacher_logits, targets, *distillation,
            loss.ignore_index, float(loss.slope_scale), loss.with_slope,
        )  # fmt: skip
        return losses
    check_triton("linear_distillation")
    from . import triton_kernel

    losses = triton_kernel.distillation_(logits, teacher_logits, targets, loss, distillation)
    return losses
