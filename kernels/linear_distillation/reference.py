"""The plain PyTorch truth of `linear_distillation`: all logits at once. Tests and benchmarks compare with it."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..vocabulary.checks import check_labels, check_options
from .checks import DivergenceKind, check_indices, check_settings, check_tensors
from .topk import TeacherTopk


def linear_distillation_reference(
    student: Tensor,
    student_weight: Tensor,
    teacher: Tensor | None,
    teacher_weight: Tensor | None,
    targets: Tensor,
    *,
    alpha: float,
    temperature: float,
    kind: DivergenceKind = "forward_kl",
    teacher_topk: TeacherTopk | None = None,
    ignore_index: int = -100,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Same arguments, result and errors as `linear_distillation`, holding several (M, V) tensors."""
    check_options(reduction=reduction)
    check_settings(alpha, temperature, kind)
    check_tensors(student, student_weight, teacher, teacher_weight, targets, teacher_topk, kind)
    vocabulary = student_weight.shape[0]
    check_labels(targets, vocabulary, ignore_index)
    student_logits = F.linear(student, student_weight)
    student_logits = student_logits if student_logits.dtype == torch.float64 else student_logits.float()
    if teacher_topk is not None:
        check_indices(teacher_topk.indices, vocabulary)
        teacher_logits = student_logits.detach().new_full((student.shape[0], vocabulary), -torch.inf)
        teacher_logits.scatter_(1, teacher_topk.indices, teacher_topk.logits.to(teacher_logits.dtype))
    else:
        assert teacher is not None
        assert teacher_weight is not None
        teacher_logits = F.linear(teacher, teacher_weight).detach().to(student_logits.dtype)
    with torch.autocast(student.device.type, enabled=False):
        unmasked = targets != ignore_index
        hard = F.cross_entropy(student_logits, targets, ignore_index=ignore_index, reduction="sum")
        n_shared = min(vocabulary, teacher_logits.shape[1])
        soft = divergence(
            torch.log_softmax(student_logits[unmasked, :n_shared] / temperature, dim=1),
            torch.log_softmax(teacher_logits[unmasked, :n_shared] / temperature, dim=1),
            kind,
        ).sum()
        # A part with no weight adds no NaN either.
        parts = [part * scale for part, scale in ((hard, 1 - alpha), (soft, alpha * temperature**2)) if scale > 0]
        loss_sum = torch.stack(parts).sum()
    return loss_sum if reduction == "sum" else loss_sum / unmasked.sum().clamp(min=1)


def divergence(student_log_p: Tensor, teacher_log_p: Tensor, kind: DivergenceKind) -> Tensor:
    """(rows,) from log-probabilities (rows, V): forward KL(teacher || student), reverse, or Jensen-Shannon."""
    student_p, teacher_p = student_log_p.exp(), teacher_log_p.exp()
    if kind == "forward_kl":
        return _expected(teacher_p, teacher_log_p - student_log_p)
    if kind == "reverse_kl":
        return _expected(student_p, student_log_p - teacher_log_p)
    mean_p = (student_p + teacher_p) / 2
    mean_log_p = mean_p.where(mean_p > 0, 1.0).log()
    parts = _expected(teacher_p, teacher_log_p - mean_log_p) + _expected(student_p, student_log_p - mean_log_p)
    return parts / 2


def _expected(p: Tensor, log_ratio: Tensor) -> Tensor:
    """The sum of p log_ratio, where a term of probability 0 is 0, in value and gradient."""
    return (p * log_ratio.masked_fill(p == 0, 0.0)).sum(dim=1)
