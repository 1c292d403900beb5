"""What `linear_distillation` refuses, and in which words."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ..autocast import autocast_is_on
from ..vocabulary.checks import check_device, check_matrices, check_targets
from .topk import TeacherTopk

DivergenceKind = Literal["forward_kl", "reverse_kl", "jsd"]
DIVERGENCES: tuple[DivergenceKind, ...] = get_args(DivergenceKind)


def check_settings(alpha: float, temperature: float, kind: str) -> None:
    """Raises ValueError where a setting is outside its range."""
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha: got {alpha}; allowed: 0 (labels alone) to 1 (the teacher alone)")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: got {temperature}; allowed: above 0, finite")
    if kind not in DIVERGENCES:
        raise ValueError(f"kind: got {kind!r}; allowed: {', '.join(DIVERGENCES)}")


def check_tensors(
    student: Tensor,
    student_weight: Tensor,
    teacher: Tensor | None,
    teacher_weight: Tensor | None,
    targets: Tensor,
    teacher_topk: TeacherTopk | None,
    kind: str,
) -> None:
    """Raises ValueError where shapes, dtypes or devices disagree, or the teacher is given twice or not at all."""
    same_dtype = not autocast_is_on(student.device.type)
    check_matrices("student", student, "student_weight", student_weight, same_dtype=same_dtype)
    n_rows = student.shape[0]
    check_targets(targets, "student", student)
    if teacher_topk is not None:
        if teacher is not None or teacher_weight is not None:
            raise ValueError(
                "teacher_topk: got a cache and a teacher; allowed: teacher and teacher_weight None, or no cache"
            )
        if kind == "reverse_kl":
            raise ValueError(
                "kind: got 'reverse_kl' with teacher_topk; allowed: forward_kl, jsd. The reverse divergence is "
                "infinite where the student has tokens that the cache has not"
            )
        check_device("teacher_topk.logits", teacher_topk.logits, "student", student)
        check_device("teacher_topk.indices", teacher_topk.indices, "student", student)
        return _check_cache(teacher_topk, n_rows, student_weight.shape[0])
    if teacher is None or teacher_weight is None:
        raise ValueError("teacher, teacher_weight: got None; allowed: both, or teacher_topk instead")
    check_matrices("teacher", teacher, "teacher_weight", teacher_weight, same_dtype=same_dtype)
    if teacher.shape[0] != n_rows:
        raise ValueError(f"teacher: got {teacher.shape[0]} rows; allowed: {n_rows}, those of student")
    check_device("teacher", teacher, "student", student)


def _check_cache(cache: TeacherTopk, n_rows: int, vocabulary: int) -> None:
    shape, floating = cache.logits.shape, cache.logits.is_floating_point()
    if shape != cache.indices.shape or len(shape) != 2 or shape[0] != n_rows or shape[1] < 1 or not floating:
        raise ValueError(
            f"teacher_topk: got logits {tuple(shape)} {cache.logits.dtype} and indices {tuple(cache.indices.shape)}; "
            f"allowed: both ({n_rows}, k) with k at least 1, and floating logits"
        )
    if cache.indices.dtype != torch.int64:
        raise ValueError(f"teacher_topk.indices: got dtype {cache.indices.dtype}; allowed: int64")
    if shape[1] > vocabulary:
        raise ValueError(f"teacher_topk: got k = {shape[1]}; allowed: up to {vocabulary}, the rows of student_weight")


def check_indices(indices: Tensor, vocabulary: int) -> None:
    """Raises ValueError naming the first row with a token out of range, or twice. Waits for the device."""
    if indices.is_meta:  # there are no values
        return
    ordered = indices.sort(dim=1).values
    wrong = (ordered[:, 0] < 0) | (ordered[:, -1] >= vocabulary) | (ordered[:, 1:] == ordered[:, :-1]).any(dim=1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"teacher_topk.indices: row {row} holds {indices[row].tolist()}; allowed: distinct tokens, 0 to "
            f"{vocabulary - 1}. Where the student's vocabulary is the smaller one, make the cache with "
            "teacher_weight[:vocabulary]"
        )
