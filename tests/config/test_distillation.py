from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jenga.config.distillation import StudentConfig, TeacherStudentConfig


@pytest.mark.parametrize(
    ("choice", "total", "kept"),
    [
        ("every_4th", 30, [0, 4, 8, 12, 16, 20, 24, 28]),
        ("every_2nd", 6, [0, 2, 4]),
        ("every_3rd", 7, [0, 3, 6]),
        ("every_12th", 24, [0, 12]),
        ([0, 5], 6, [0, 5]),
    ],
)
def test_the_layers_that_a_student_keeps(choice: Any, total: int, kept: list[int]) -> None:
    assert StudentConfig(from_teacher=choice).layers(total) == kept


@pytest.mark.parametrize("choice", ["every_1st", "every_4", "all", "every_0th", [2, 1], [1, 1], [], [-1]])
def test_what_is_no_choice_of_layers_is_refused(choice: Any) -> None:
    with pytest.raises(ValidationError, match="from_teacher"):
        StudentConfig(from_teacher=choice)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"top_k_dir": "x"}, "nothing is kept there without top_k"),
        ({"top_k": 4, "divergence": "reverse_kl"}, "infinite"),
        ({"top_k": 4, "hidden_states": {}}, "runs the teacher at each step"),
        ({"top_k": 4, "attentions": {}}, "runs the teacher at each step"),
        ({"distillation_alpha": 1.5}, "less than or equal to 1"),
        ({"temperature": 0}, "greater than 0"),
        ({"hidden_states": {"layers": [[0]]}}, "hidden_states"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TeacherStudentConfig(teacher_model="t", **settings)
