"""What linear_distillation, its reference and teacher_topk refuse, each with where, what, and what is allowed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jenga.kernels import TeacherTopk, linear_distillation, teacher_topk
from jenga.kernels.linear_distillation.reference import linear_distillation_reference

IMPLEMENTATIONS = [linear_distillation, linear_distillation_reference]
SETTINGS: dict[str, Any] = {"alpha": 0.5, "temperature": 2.0}


def inputs() -> list[Tensor | None]:
    return [torch.randn(6, 4), torch.randn(7, 4), torch.randn(6, 3), torch.randn(7, 3), torch.zeros(6).long()]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, "alpha: got 1.5; allowed: 0"),
        ({"temperature": 0.0}, "temperature: got 0.0; allowed: above 0"),
        ({"temperature": float("inf")}, "temperature: got inf"),
        ({"kind": "tvd"}, "kind: got 'tvd'; allowed: forward_kl, reverse_kl, jsd"),
        ({"reduction": "none"}, "reduction: got 'none'"),
    ],
)
def test_wrong_settings_are_refused(
    implementation: Callable[..., Tensor], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        implementation(*inputs(), **(SETTINGS | options))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (2, torch.randn(5, 3), "teacher: got 5 rows; allowed: 6"),
        (2, None, "teacher, teacher_weight: got None; allowed: both, or teacher_topk"),
        (3, torch.randn(7, 4), "teacher, teacher_weight: got shapes"),
        (1, torch.randn(7, 4).double(), "student, student_weight: got dtypes"),
        (1, torch.randn(7, 4, device="meta"), "student_weight: got device meta; allowed: cpu, that of student"),
        (2, torch.randn(6, 3, device="meta"), "teacher_weight: got device cpu; allowed: meta, that of teacher"),
        (4, torch.zeros(6, device="meta").long(), "targets: got device meta; allowed: cpu, that of student"),
        (4, torch.tensor([0, 1, 7, 0, 0, 9]), "targets: row 2 holds label 7; allowed: 0 to 6"),
    ],
)
def test_tensors_that_disagree_are_refused(
    implementation: Callable[..., Tensor], position: int, value: Tensor | None, message: str
) -> None:
    arguments = inputs()
    arguments[position] = value
    with pytest.raises(ValueError, match=message):
        implementation(*arguments, **SETTINGS)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("cache", "message"),
    [
        (
            TeacherTopk(torch.randn(6, 2), torch.tensor([[0, 1]] * 5 + [[3, 7]])),
            r"row 5 holds \[3, 7\]; allowed: distinct",
        ),
        (TeacherTopk(torch.randn(6, 2), torch.tensor([[0, 1]] * 5 + [[3, -1]])), r"row 5 holds \[3, -1\]"),
        (TeacherTopk(torch.randn(6, 2), torch.tensor([[0, 1]] * 4 + [[3, 3]] * 2)), r"row 4 holds \[3, 3\]"),
        (TeacherTopk(torch.randn(6, 2), torch.zeros(6, 3).long()), r"allowed: both \(6, k\)"),
        (TeacherTopk(torch.randn(6, 0), torch.zeros(6, 0).long()), r"allowed: both \(6, k\)"),
        (TeacherTopk(torch.randn(6, 2, device="meta"), torch.zeros(6, 2).long()), "logits: got device meta"),
        (TeacherTopk(torch.randn(6, 2), torch.zeros(6, 2).int()), "indices: got dtype torch.int32; allowed: int64"),
        (TeacherTopk(torch.randn(6, 8), torch.zeros(6, 8).long()), "got k = 8; allowed: up to 7"),
    ],
)
def test_wrong_caches_are_refused(implementation: Callable[..., Tensor], cache: TeacherTopk, message: str) -> None:
    student, weight, _, _, targets = inputs()
    with pytest.raises(ValueError, match=message):
        implementation(student, weight, None, None, targets, teacher_topk=cache, **SETTINGS)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_cache_beside_a_teacher_and_a_cache_for_reverse_kl_are_refused(implementation: Callable[..., Tensor]) -> None:
    student, weight, teacher, teacher_weight, targets = inputs()
    assert teacher is not None
    assert teacher_weight is not None
    cache = teacher_topk(teacher, teacher_weight, 2)
    with pytest.raises(ValueError, match="teacher_topk: got a cache and a teacher"):
        implementation(*inputs(), teacher_topk=cache, **SETTINGS)
    with pytest.raises(ValueError, match=r"'reverse_kl' with teacher_topk.*infinite"):
        implementation(student, weight, None, None, targets, teacher_topk=cache, kind="reverse_kl", **SETTINGS)


def test_teacher_topk_refuses_a_k_out_of_range() -> None:
    for k in (0, 8):
        with pytest.raises(ValueError, match=f"k: got {k}; allowed: 1 to 7"):
            teacher_topk(torch.randn(6, 3), torch.randn(7, 3), k)


def test_vmap_is_refused_with_the_way_around() -> None:
    student, *rest = inputs()
    assert student is not None
    with pytest.raises(NotImplementedError, match=r"student.flatten\(0, 1\)"):
        torch.func.vmap(lambda each: linear_distillation(each, *rest, **SETTINGS))(student.expand(2, 6, 4))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"divergence": 3}, "divergence: got 3; allowed: 0 to 2"),
        ({"divergence": -1}, "divergence: got -1; allowed: 0 to 2"),
        ({"top_logits": torch.ones(6, 2)}, "top_logits, top_indices: got one of the two"),
        ({"teacher": None}, "teacher, teacher_weight: got None"),
        ({"chunk_rows": -(2**62)}, "chunk_rows: got -4611686018427387904"),
        ({"wanted": []}, "wanted: got 0; allowed: 2"),
        ({"temperature": 0.0}, "temperature: got 0.0"),
        ({"targets": torch.zeros(5).long()}, r"targets: got shape \(5,\)"),
    ],
)
def test_the_op_itself_refuses_what_the_function_does_and_counts_that_cannot_be(
    changed: dict[str, Any], message: str
) -> None:
    student, weight, teacher, teacher_weight, targets = inputs()
    given = {
        "student": student, "student_weight": weight, "teacher": teacher, "teacher_weight": teacher_weight,
        "top_logits": None, "top_indices": None, "targets": targets, "alpha": 0.5, "temperature": 2.0,
        "divergence": 0, "ignore_index": -100, "mean": True, "chunk_rows": 0, "wanted": [True, True],
    }  # fmt: skip
    torch.ops.jenga.linear_distillation(*given.values())
    with pytest.raises(ValueError, match=message):
        torch.ops.jenga.linear_distillation(*(given | changed).values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"divergence": 3}, "divergence: got 3; allowed: 0 to 2"),
        ({"alpha": float("nan")}, "alpha: got nan; allowed: 0 to 1"),
        ({"temperature": float("inf")}, "temperature: got inf; allowed: above 0, finite"),
        ({"targets": torch.zeros(4, 1).long()}, "targets: got 2 dimensions; allowed: 1"),
        ({"teacher_logits": torch.zeros(4, 5).double()}, "teacher_logits: got dtype Double; allowed: Float"),
        ({"teacher_logits": torch.zeros(3, 5)}, "teacher_logits: allowed: a row for each label"),
    ],
)
def test_the_chunk_s_op_refuses_what_it_would_read_beyond(changed: dict[str, Any], message: str) -> None:
    given = {
        "logits": torch.zeros(4, 5), "teacher_logits": torch.zeros(4, 5), "targets": torch.zeros(4).long(),
        "alpha": 0.5, "temperature": 2.0, "divergence": 0, "ignore_index": -100, "slope_scale": 1.0, "with_slope": True,
    }  # fmt: skip
    torch.ops.jenga.vocabulary_distillation_(*given.values())
    with pytest.raises(ValueError, match=message):
        torch.ops.jenga.vocabulary_distillation_(*(given | changed).values())
    with pytest.raises(ValueError, match="logits: shares memory with teacher_logits"):
        torch.ops.jenga.vocabulary_distillation_(*(given | {"teacher_logits": given["logits"]}).values())
