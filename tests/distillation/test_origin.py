"""Where a teacher comes from, and which key is blamed where it does not. (Which one: test_distillation_init.py.)"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jenga import saved
from jenga.config.distillation import TeacherStudentConfig
from jenga.distillation.origin import Origin
from jenga.errors import ConfigError, SetupError
from jenga.files import atomic_folder
from jenga.types import HeadSpace

Make = Callable[..., Any]
KEY = "^model.teacher_student_config.teacher_model: "


def origin_of(student: Any, folder: object, **settings: Any) -> Origin:
    return Origin(student, TeacherStudentConfig(teacher_model=str(folder), **settings))


def test_a_run_its_best_model_and_a_checkpoint_are_told_apart(tmp_path: Path, models: dict[str, str]) -> None:
    best = tmp_path / "run" / "best"
    heads = [HeadSpace("mood", "mood", "class", 2, ("bad", "good"))]
    with atomic_folder(best) as staging:
        saved.write(staging, saved.Description({"model": {"backbone_type": "text"}}, [], {}, heads, None))
    part = {"shared": None}
    student = SimpleNamespace(
        model=SimpleNamespace(encoders=part), inputs=part, config=SimpleNamespace(of_backbone=part.get)
    )
    assert origin_of(student, tmp_path / "run").folder == best == origin_of(student, best).folder
    assert origin_of(student, models["big"]).folder is None
    assert origin_of(student, "nobody/model").folder is None
    assert not origin_of(student, best).generates
    assert origin_of(student, models["big"]).generates
    assert origin_of(student, best).checkpoint == best / "backbone"
    assert origin_of(student, models["big"]).checkpoint == Path(models["big"])


@pytest.mark.parametrize("what", ["weights", "tokenizer", "folder"])
def test_what_is_missing_of_a_checkpoint_is_blamed_on_the_teachers_key(
    language: Make, built: Make, models: dict[str, str], tmp_path: Path, what: str
) -> None:
    student = built(language()).bundle
    folder = tmp_path / "teacher"
    if what != "folder":
        shutil.copytree(models["big"], folder)
        for path in folder.glob("model*" if what == "weights" else "tokenizer*"):
            path.unlink()
    # transformers makes an empty tokenizer where there is none, which is then another one.
    with pytest.raises(ConfigError if what == "tokenizer" else SetupError, match=KEY):
        origin_of(student, folder).language_teacher([("lm", "text")], packed=False)
    if what != "tokenizer":
        with pytest.raises(SetupError, match=KEY):
            origin_of(student, folder).encoder_teacher()


def test_a_student_whose_output_layer_has_a_bias_is_refused(
    language: Make, built: Make, models: dict[str, str]
) -> None:
    import torch

    student = built(language()).bundle
    student.model.encoders["shared"].language_model.lm_head.bias = torch.nn.Parameter(torch.zeros(320))
    with pytest.raises(ConfigError, match=r"the output layer of '.*' has a bias"):
        origin_of(student, models["big"]).language_teacher([], packed=False)
