"""The chunk kernel of `linear_distillation` for CUDA: one program a row, student logits replaced by their slope.

Passes over a row: the largest logits and the sums of exponentials of both models, the divergence, the slope. Each
recomputes the exponentials, which costs less than memory to hold them. With TRITON_INTERPRET=1 it runs on a CPU.
"""

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from ..dtypes import accumulate_dtype
from ..vocabulary.chunks import VocabularyLoss
from ..vocabulary.triton_rows import block_columns, clear_row, label_of_row, softmax_of_row
from .chunk_losses import Distillation

FORWARD_KL = tl.constexpr(0)
REVERSE_KL = tl.constexpr(1)


@triton.jit
def log_of_one_plus(r):  # type: ignore[no-untyped-def]
    """log(1 + r) without the loss of digits at a small r (Higham 2002, section 1.14.1)."""
    u = 1.0 + r
    exact = u - 1.0
    return tl.where(exact == 0.0, r, tl.log(u) * r / tl.where(exact == 0.0, 1.0, exact))


@triton.jit
def half_divergence(p, log_p, q, log_q):  # type: ignore[no-untyped-def]
    """p log(p / m) / 2 with m = (p + q) / 2, 0 where p is 0; see csrc/core/vector/vocabulary.cpp for the two forms."""
    total = p + q
    r = (p - q) / tl.where(total == 0.0, 1.0, total)
    log_ratio = log_of_one_plus(tl.where(r < -0.5, -r, r)) + tl.where(r < -0.5, log_p - log_q, 0.0)
    return tl.where(p == 0.0, 0.0, p * log_ratio * 0.5)


@triton.jit
def divergence_terms(p, log_p, q, log_q, kind: tl.constexpr):  # type: ignore[no-untyped-def]
    """Per column: what sums to the divergence, and what sums to the mean that its slope is centred by."""
    if kind == FORWARD_KL:
        terms = tl.where(q == 0.0, 0.0, q * (log_q - log_p))
        centred = terms
    elif kind == REVERSE_KL:
        terms = tl.where(p == 0.0, 0.0, p * (log_p - log_q))
        centred = terms
    else:
        centred = half_divergence(p, log_p, q, log_q)
        terms = centred + half_divergence(q, log_q, p, log_p)
    return terms, centred


@triton.jit
def distillation_kernel(  # type: ignore[no-untyped-def]
    student_ptr, teacher_ptr, targets_ptr, losses_ptr, settings_ptr,
    n_student, n_teacher, n_shared, ignore_index,
    kind: tl.constexpr, with_labels: tl.constexpr, with_slope: tl.constexpr,
    block_columns: tl.constexpr, acc_dtype: tl.constexpr,
):  # fmt: skip
    """Losses (rows,) and, in place, scale * slope of student logits (rows, n_student), one row a program.

    settings: scale, alpha, temperature; in memory, since Triton passes numbers as float32.
    """
    scale = tl.load(settings_ptr).to(acc_dtype)
    alpha = tl.load(settings_ptr + 1).to(acc_dtype)
    temperature = tl.load(settings_ptr + 2).to(acc_dtype)
    row = tl.program_id(0).to(tl.int64)
    student_row = student_ptr + row * n_student
    teacher_row = teacher_ptr + row * n_teacher
    label, is_label, loss_without = label_of_row(targets_ptr, row, n_student, ignore_index)
    if is_label:
        # All warps read it before any can write the slope over it.
        label_logit = tl.load(student_row + label).to(acc_dtype)
        tl.debug_barrier()
        cold = 1.0 / temperature
        hard_max, hard_sum = softmax_of_row(student_row, n_student, 1.0, block_columns, acc_dtype)
        p_max, p_sum = softmax_of_row(student_row, n_shared, cold, block_columns, acc_dtype)
        q_max, q_sum = softmax_of_row(teacher_row, n_shared, cold, block_columns, acc_dtype)
        log_p_sum = tl.log(p_sum)
        log_q_sum = tl.log(q_sum)
        value_sums = tl.zeros((block_columns,), acc_dtype)
        centre_sums = tl.zeros((block_columns,), acc_dtype)
        for begin in range(0, n_shared, block_columns):
            columns = begin + tl.arange(0, block_columns)
            inside = columns < n_shared
            s = (tl.load(student_row + columns, mask=inside, other=float("-inf")).to(acc_dtype) - p_max) * cold
            t = (tl.load(teacher_row + columns, mask=inside, other=float("-inf")).to(acc_dtype) - q_max) * cold
            terms, centred = divergence_terms(tl.exp(s) / p_sum, s - log_p_sum, tl.exp(t) / q_sum, t - log_q_sum, kind)
            value_sums += terms
            centre_sums += centred
        centre = tl.sum(centre_sums, axis=0)
        loss = alpha * temperature * temperature * tl.sum(value_sums, axis=0)
        if with_labels:
            loss += (1.0 - alpha) * (tl.log(hard_sum) + hard_max - label_logit)
        tl.store(losses_ptr + row, loss)
        if with_slope:
            for begin in range(0, n_student, block_columns):
                columns = begin + tl.arange(0, block_columns)
                inside = columns < n_student
                shared = columns < n_shared
                logits = tl.load(student_row + columns, mask=inside, other=float("-inf")).to(acc_dtype)
                s = (logits - p_max) * cold
                t = (tl.load(teacher_row + columns, mask=shared, other=float("-inf")).to(acc_dtype) - q_max) * cold
                p = tl.exp(s) / p_sum
                q = tl.exp(t) / q_sum
                log_p = s - log_p_sum
                log_q = t - log_q_sum
                if kind == FORWARD_KL:
                    soft = p - q
                elif kind == REVERSE_KL:
                    soft = tl.where(p == 0.0, 0.0, p * (log_p - log_q - centre))
                else:
                    soft = half_divergence(p, log_p, q, log_q) - p * centre
                slope = alpha * temperature * tl.where(shared, soft, 0.0)
                if with_labels:
                    hard = tl.exp(logits - hard_max) / hard_sum - tl.where(columns == label, 1.0, 0.0)
                    slope += (1.0 - alpha) * hard
                tl.store(student_row + columns, (scale * slope).to(student_row.dtype.element_ty), mask=inside)
    else:
        tl.store(losses_ptr + row, loss_without)
        if with_slope:
            clear_row(student_row, n_student, block_columns)


def distillation_(
    logits: Tensor, teacher_logits: Tensor, targets: Tensor, loss: VocabularyLoss, distillation: Distillation
) -> Tensor:
    """Losses (rows,) of contiguous student logits, which become their slope if wanted."""
    losses = logits.new_empty(targets.shape, dtype=accumulate_dtype(logits.dtype))
    if logits.shape[0] == 0:
        return losses
    alpha, temperature, divergence = distillation
    scale = loss.slope_scale
    settings = torch.stack([scale, *(scale.new_full((), value) for value in (alpha, temperature))])
    n_student, n_teacher = logits.shape[1], teacher_logits.shape[1]
    distillation_kernel[(logits.shape[0],)](
        logits, teacher_logits, targets.contiguous(), losses, settings,
        n_student, n_teacher, min(n_student, n_teacher), loss.ignore_index,
        kind=divergence, with_labels=alpha < 1, with_slope=loss.with_slope,
        block_columns=block_columns(n_student), num_warps=8,
        acc_dtype=tl.float64 if losses.dtype == torch.float64 else tl.float32,
    )  # fmt: skip
    return losses
