"""Teachers: what a frozen model says of the rows that its student learns from."""

from __future__ import annotations

from collections.abc import Sequence

from jenga.backbones.language import load_language_model
from jenga.backbones.pretrained import load_tokenizer
from jenga.backbones.text import TextBackbone
from jenga.bundle import Bundle
from jenga.data.collate import Source
from jenga.data.language import LanguageSplit
from jenga.errors import ConfigError
from jenga.inputs import TextInputs
from jenga.teacher.language import LanguageTeacher
from jenga.teacher.vocabulary import check_same_tokens

__all__ = ["LanguageTeacher", "make_teacher"]
_KEY = "model.teacher_student_config.teacher_model"


def make_teacher(bundle: Bundle, sources: Sequence[Source]) -> LanguageTeacher | None:
    """Return the teacher that the configuration of `bundle` asks for, None without one.

    Raises ConfigError where it does not fit the student, SetupError where it cannot be had.
    """
    settings = getattr(bundle.config.model, "teacher_student_config", None)
    if settings is None or not settings.enabled:
        return None
    keys = [key for key, space in bundle.spaces.items() if space.kind == "text"]
    backbone, inputs = bundle.model.backbone, bundle.inputs
    assert isinstance(backbone, TextBackbone)
    assert isinstance(inputs, TextInputs)
    if backbone.output_layer[1] is not None:
        raise ConfigError(
            f"model.teacher_student_config: the output layer of '{backbone.model_name}' has a bias, which distillation "
            "does not compute; choose another student"
        )
    cleared = {"base_model": settings.teacher_model, "tokenizer": None, "dropout": None, "teacher_student_config": None}
    block = bundle.config.model.model_copy(update=cleared)
    teacher = LanguageTeacher(load_language_model(settings.teacher_model, block, key=_KEY), settings, keys)
    check_same_tokens(inputs.tokenizer, load_tokenizer(block), teacher_name=settings.teacher_model)
    if any(isinstance(each.splits["train"], LanguageSplit) and each.splits["train"].packs for each in sources):
        teacher.check_packing()
    return teacher
