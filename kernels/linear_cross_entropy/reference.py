"""The plain PyTorch truth of `linear_cross_entropy`: all logits at once. Tests and benchmarks compare with it."""

from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..autocast import autocast_is_on
from ..vocabulary.checks import check_head, check_labels, check_options


def linear_cross_entropy_reference(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Same arguments, result and errors as `linear_cross_entropy`, holding (M, V) logits and their gradient."""
    check_options(label_smoothing=label_smoothing, reduction=reduction)
    check_head("hidden", hidden, "weight", weight, targets, bias)
    check_labels(targets, weight.shape[0], ignore_index)
    logits = F.linear(hidden, weight, bias)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    device_type = logits.device.type
    with torch.autocast(device_type, enabled=False) if autocast_is_on(device_type) else nullcontext():
        loss_sum = F.cross_entropy(
            logits, targets, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction="sum"
        )
    return loss_sum if reduction == "sum" else loss_sum / (targets != ignore_index).sum().clamp(min=1)
