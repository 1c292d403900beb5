"""The plain PyTorch truth of `multi_head_loss`: a loop over heads. Tests and benchmarks compare with it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dtypes import accumulate_dtype
from .spec import CLASS_KINDS, IGNORED_LABEL, LABEL_KINDS, HeadSpec, MultiHeadLoss, head_tasks


def multi_head_loss_reference(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Sequence[Tensor],
    *,
    heads: Sequence[HeadSpec],
    rows: Tensor | None = None,
) -> MultiHeadLoss:
    """Same arguments, results and errors as `multi_head_loss`, by one PyTorch loss a head."""
    check_arguments(hidden, weight, targets, heads, rows)
    logits = F.linear(hidden, weight, bias)
    parts = logits.split([head.size for head in heads], dim=1)
    results = [
        _head_loss(part, target, head, index, None if rows is None else rows == task)
        for index, (part, target, head, task) in enumerate(zip(parts, targets, heads, head_tasks(heads), strict=True))
    ]
    return MultiHeadLoss(
        torch.stack([loss_sum for loss_sum, _, _ in results]),
        torch.stack([count for _, count, _ in results]),
        [prediction for _, _, prediction in results],
        logits.detach(),
    )


def check_arguments(
    hidden: Tensor, weight: Tensor, targets: Sequence[Tensor], heads: Sequence[HeadSpec], rows: Tensor | None
) -> None:
    """Raises ValueError where targets, weight and heads disagree in number, or `rows` has another form than hidden's.

    The targets' shapes are checked head by head.
    """
    if not heads:
        raise ValueError("heads: got none; allowed: 1 or more")
    if len(targets) != len(heads):
        raise ValueError(f"targets: got {len(targets)} for {len(heads)} heads")
    n_outputs = sum(head.size for head in heads)
    if weight.shape[0] != n_outputs:
        raise ValueError(f"weight: the heads have {n_outputs} outputs in all, but weight has {weight.shape[0]} rows")
    if hidden.dim() != 2:
        raise ValueError(f"hidden: got {hidden.dim()} dimensions; allowed: 2, (rows, width)")
    for name, tensor in (("weight", weight), *((f"targets[{place}]", each) for place, each in enumerate(targets))):
        if tensor.device != hidden.device:
            raise ValueError(f"{name}: on {tensor.device}; allowed: the device of hidden, {hidden.device}")
    if rows is None:
        return
    if rows.dtype != torch.int64 or rows.shape != hidden.shape[:1]:
        raise ValueError(
            f"rows: got shape {tuple(rows.shape)}, {rows.dtype}; allowed: ({hidden.shape[0]},), int64, the task of "
            "each row"
        )
    if rows.device != hidden.device:
        raise ValueError(f"rows: on {rows.device}; allowed: the device of hidden, {hidden.device}")


def _head_loss(
    logits: Tensor, target: Tensor, head: HeadSpec, index: int, seen: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """loss_sum, count and prediction of one head; seen: bool (M,), the rows that are its own, or None for all."""
    _check_form(target, logits, head, index)
    target = target.detach()
    if seen is not None:
        # A masked target says all of "not this head's row", and what stood there is gone before anything reads it.
        nothing = IGNORED_LABEL if head.kind in LABEL_KINDS else float("nan")
        target = target.masked_fill(~_as_rows_of(seen, target), nothing)
    if head.kind in LABEL_KINDS:
        _check_labels(target, head, index)
    known = _known(target, head)
    acc_dtype = accumulate_dtype(logits.dtype)
    # What is masked is emptied before the loss is taken: 0 times the slope of a NaN or an infinity is no 0.
    values = logits.to(acc_dtype).masked_fill(~_as_rows_of(known, logits), 0.0)
    label_weight = None if head.label_weight is None else head.label_weight.to(acc_dtype)
    with torch.autocast(logits.device.type, enabled=False):
        losses = _losses(values, target, known, head, label_weight)
    losses = losses.masked_fill(~known, 0.0)
    return losses.sum(), known.sum(dtype=torch.float32), _prediction(logits.detach(), head, seen)


def _known(target: Tensor, head: HeadSpec) -> Tensor:
    """Which places have a label: bool (M,) for kinds that choose a class, else (M, K)."""
    if head.kind in LABEL_KINDS:
        return target != IGNORED_LABEL
    known = ~target.isnan()
    return known.all(dim=1) if head.kind == "soft" else known


def _losses(logits: Tensor, target: Tensor, known: Tensor, head: HeadSpec, label_weight: Tensor | None) -> Tensor:
    """The loss of each place of `known`, of the same shape; what stands where nothing is known is not read."""
    if head.kind == "focal":
        return _focal(logits, target.masked_fill(~known, 0), label_weight, head.parameter)
    if head.kind == "ce":
        return F.cross_entropy(logits, target, label_weight, reduction="none", label_smoothing=head.label_smoothing)
    values = target.masked_fill(~_as_rows_of(known, target), 0.0).to(logits.dtype)
    if head.kind == "soft":
        return F.cross_entropy(logits, values, label_weight, reduction="none", label_smoothing=head.label_smoothing)
    if head.kind == "bce":
        return F.binary_cross_entropy_with_logits(logits, values, pos_weight=label_weight, reduction="none")
    return (logits - values).square()


def _focal(logits: Tensor, labels: Tensor, class_weight: Tensor | None, gamma: float) -> Tensor:
    """-w_y (1 - p_y)^gamma log p_y of each row, (M,) (Lin et al. 2017, equation 5)."""
    log_p = F.log_softmax(logits, dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
    # Not 1 - p, which keeps no digit of a small difference; and above 0, whose power has no slope below gamma = 1.
    not_p = (-torch.expm1(log_p)).clamp_min(torch.finfo(logits.dtype).tiny)
    losses = -(not_p**gamma) * log_p
    return losses if class_weight is None else losses * class_weight[labels]


def _prediction(logits: Tensor, head: HeadSpec, seen: Tensor | None) -> Tensor:
    if head.kind in CLASS_KINDS:
        prediction, nothing = logits.argmax(dim=1), float(IGNORED_LABEL)
    elif head.kind == "bce":
        prediction, nothing = logits > 0, 0.0
    else:
        prediction, nothing = logits.clone(), float("nan")
    return prediction if seen is None else prediction.masked_fill(~_as_rows_of(seen, prediction), nothing)


def _as_rows_of(mask: Tensor, tensor: Tensor) -> Tensor:
    """A mask (M,) as (M, 1) for a tensor of two dimensions; any other as it is."""
    return mask.unsqueeze(1) if mask.dim() < tensor.dim() else mask


def _check_form(target: Tensor, logits: Tensor, head: HeadSpec, index: int) -> None:
    shape = tuple(logits.shape[:1] if head.kind in LABEL_KINDS else logits.shape)
    if head.kind in LABEL_KINDS:
        if target.dtype != torch.int64:
            raise ValueError(
                f"targets[{index}]: got dtype {target.dtype}; a {head.kind} head takes int64 class indices"
            )
        if target.shape != shape:
            raise ValueError(f"targets[{index}]: a {head.kind} head takes shape {shape}; got {tuple(target.shape)}")
        return
    if not target.is_floating_point():
        raise ValueError(
            f"targets[{index}]: got dtype {target.dtype}; a bce, mse or soft head takes floats, NaN where masked"
        )
    if target.shape != shape:
        raise ValueError(f"targets[{index}]: this head takes shape {shape}; got {tuple(target.shape)}")


def _check_labels(target: Tensor, head: HeadSpec, index: int) -> None:
    wrong = (target != IGNORED_LABEL) & ((target < 0) | (target >= head.size))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"targets[{index}]: row {row} holds label {int(target[row])}; heads[{index}] allows 0 to {head.size - 1}, "
            f"or {IGNORED_LABEL} for no label"
        )
