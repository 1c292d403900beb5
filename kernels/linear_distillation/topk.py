"""A teacher's largest logits, computed once and kept, so that training needs no teacher."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..autocast import as_autocast
from ..dtypes import accumulate_dtype
from ..vocabulary.checks import check_matrices, check_options
from ..vocabulary.chunked_linear import ChunkedLinear
from ..vocabulary.chunks import auto_chunk_rows


class TeacherTopk(NamedTuple):
    """The k largest logits of a teacher for each of M rows.

    Attributes:
        logits: (M, k) floating, as they are: the temperature comes later.
        indices: int64 (M, k), the tokens they belong to; distinct in a row.
    """

    logits: Tensor
    indices: Tensor


@torch.no_grad()
def teacher_topk(
    teacher: Tensor, teacher_weight: Tensor, k: int, *, chunk_size: int | Literal["auto"] = "auto"
) -> TeacherTopk:
    """The k largest of `teacher @ teacher_weight.T` in each row, a chunk of rows at a time.

    Args:
        teacher: (M, Ht) floating. teacher_weight: (Vt, Ht), same dtype; under autocast both are cast. Where the
            student's vocabulary is the smaller one, give the rows of its tokens only:
            `teacher_weight[:student_vocabulary]`.
        k: 1 to Vt.

    Returns:
        `TeacherTopk`: float32 logits (float64 for float64), largest first, and their tokens.

    Raises:
        ValueError: shapes, dtypes, devices or options disagree, or k is out of range.
    """
    check_options(reduction="mean", chunk_size=chunk_size)
    teacher, teacher_weight, _ = as_autocast(teacher, teacher_weight, None)
    check_matrices("teacher", teacher, "teacher_weight", teacher_weight)
    n_rows, vocabulary = teacher.shape[0], teacher_weight.shape[0]
    if not 1 <= k <= vocabulary:
        raise ValueError(f"k: got {k}; allowed: 1 to {vocabulary}, the rows of teacher_weight")
    dtype = accumulate_dtype(teacher.dtype)
    kept = TeacherTopk(teacher.new_empty((n_rows, k), dtype=dtype), teacher.new_empty((n_rows, k), dtype=torch.int64))
    head = ChunkedLinear(teacher, teacher_weight)
    chunk_rows = auto_chunk_rows(teacher.shape[1]) if chunk_size == "auto" else chunk_size
    buffer = head.new_logits(min(n_rows, chunk_rows))
    for begin in range(0, n_rows, chunk_rows):
        rows = slice(begin, min(begin + chunk_rows, n_rows))
        values, indices = head.logits(rows, buffer).topk(k, dim=1)
        kept.logits[rows], kept.indices[rows] = values.to(dtype), indices
    return kept
