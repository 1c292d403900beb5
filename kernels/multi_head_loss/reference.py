"""The plain PyTorch truth of `multi_head_loss`: a loop over heads. Tests and benchmarks compare with it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .spec import IGNORED_LABEL, HeadSpec, MultiHeadLoss


def multi_head_loss_reference(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Sequence[Tensor], *, heads: Sequence[HeadSpec]
) -> MultiHeadLoss:
    """Same arguments, results and errors as `multi_head_loss`, by one PyTorch loss a head."""
    check_arguments(weight, targets, heads)
    logits = F.linear(hidden, weight, bias)
    parts = logits.split([head.size for head in heads], dim=1)
    results = [
        _head_loss(part, target, head, index)
        for index, (part, target, head) in enumerate(zip(parts, targets, heads, strict=True))
    ]
    return MultiHeadLoss(
        torch.stack([loss_sum for loss_sum, _, _ in results]),
        torch.stack([count for _, count, _ in results]),
        [prediction for _, _, prediction in results],
    )


def check_arguments(weight: Tensor, targets: Sequence[Tensor], heads: Sequence[HeadSpec]) -> None:
    """Raises ValueError where targets, weight and heads disagree in number; shapes are checked head by head."""
    if not heads:
        raise ValueError("heads: got none; allowed: 1 or more")
    if len(targets) != len(heads):
        raise ValueError(f"targets: got {len(targets)} for {len(heads)} heads")
    n_outputs = sum(head.size for head in heads)
    if weight.shape[0] != n_outputs:
        raise ValueError(f"weight: the heads have {n_outputs} outputs in all, but weight has {weight.shape[0]} rows")


def _head_loss(logits: Tensor, target: Tensor, head: HeadSpec, index: int) -> tuple[Tensor, Tensor, Tensor]:
    logits_acc = logits if logits.dtype == torch.float64 else logits.float()
    label_weight = None if head.label_weight is None else head.label_weight.to(logits_acc.dtype)
    with torch.autocast(logits.device.type, enabled=False):
        if head.kind == "ce":
            _check_labels(target, logits.shape[0], head, index)
            loss_sum = F.cross_entropy(
                logits_acc, target, label_weight, reduction="sum", label_smoothing=head.label_smoothing
            )
            return loss_sum, (target != IGNORED_LABEL).sum(dtype=torch.float32), logits.detach().argmax(dim=1)
        _check_values(target, logits, index)
        unmasked = ~target.isnan()
        # Zeroed before the loss: a NaN target would make the gradient of the masked place NaN as well.
        values = target.masked_fill(~unmasked, 0.0).to(logits_acc.dtype)
        if head.kind == "bce":
            losses = F.binary_cross_entropy_with_logits(logits_acc, values, pos_weight=label_weight, reduction="none")
            prediction = logits.detach() > 0
        else:
            losses = (logits_acc - values).square()
            prediction = logits.detach().clone()
        return losses.masked_fill(~unmasked, 0.0).sum(), unmasked.sum(dtype=torch.float32), prediction


def _check_labels(target: Tensor, n_rows: int, head: HeadSpec, index: int) -> None:
    if target.dtype != torch.int64:
        raise ValueError(f"targets[{index}]: got dtype {target.dtype}; a ce head takes int64 class indices")
    if target.shape != (n_rows,):
        raise ValueError(f"targets[{index}]: a ce head takes shape ({n_rows},); got {tuple(target.shape)}")
    wrong = (target != IGNORED_LABEL) & ((target < 0) | (target >= head.size))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"targets[{index}]: row {row} holds label {int(target[row])}; heads[{index}] allows 0 to {head.size - 1}, "
            f"or {IGNORED_LABEL} for no label"
        )


def _check_values(target: Tensor, logits: Tensor, index: int) -> None:
    if not target.is_floating_point():
        raise ValueError(
            f"targets[{index}]: got dtype {target.dtype}; a bce or mse head takes floats, NaN where masked"
        )
    if target.shape != logits.shape:
        raise ValueError(f"targets[{index}]: this head takes shape {tuple(logits.shape)}; got {tuple(target.shape)}")
