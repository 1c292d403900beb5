"""The losses of one chunk of logits, turned in place into their slope: C++ on a CPU, Triton on CUDA."""

import torch
from torch import Tensor

from .._native import check_triton
from ..vocabulary.chunks import VocabularyLoss


def cross_entropy_of_chunk(logits: Tensor, targets: Tensor, loss: VocabularyLoss, label_smoothing: float) -> Tensor:
    """Losses (rows,) of logits (rows, V), which become `loss.slope_scale` times their slope if `loss.with_slope`.

    A label out of range gives the loss NaN and slope 0: the caller reports it.
    """
    if logits.device.type == "cpu":
        losses: Tensor = torch.ops.jenga.vocabulary_cross_entropy_(
            logits, targets, loss.ignore_index, label_smoothing, float(loss.slope_scale), loss.with_slope
        )
        return losses
    check_triton("linear_cross_entropy")
    from . import triton_kernel

    losses = triton_kernel.cross_entropy_(logits, targets, loss, label_smoothing)
    return losses
