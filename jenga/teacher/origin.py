"""Where a teacher comes from: a run of Jenga, or a checkpoint of transformers."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jenga.backbones.language import check_packing, load_language_model
from jenga.backbones.pretrained import checkpoint_folder, load_encoder, load_tokenizer
from jenga.backbones.text import TextBackbone
from jenga.bundle import Bundle
from jenga.config.distillation import TeacherStudentConfig
from jenga.errors import ConfigError
from jenga.inputs import TextInputs
from jenga.labels import kind_named
from jenga.teacher.precision import reduce_precision
from jenga.teacher.running import RunningTeacher
from jenga.teacher.vocabulary import check_same_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEY = "model.teacher_student_config.teacher_model"


class Origin:
    """The configured teacher of `student`, loaded when it is first asked for.

    `folder`: of the model, where it is a run of Jenga, or a model that one wrote; None for a checkpoint.
    """

    def __init__(self, student: Bundle, settings: TeacherStudentConfig) -> None:
        self.student, self.settings = student, settings
        self.folder = bundle_folder(settings.teacher_model)

    @property
    def generates(self) -> bool:
        """Whether it may be a language model: a checkpoint may, a run of Jenga is one with a language task."""
        if self.folder is None:
            return True
        return any(
            kind_named(space["kind"]).from_text
            for space in json.loads((self.folder / "jenga.json").read_text())["spaces"]
        )

    @property
    def checkpoint(self) -> Path:
        """The folder of its weights. Raises SetupError where it cannot be had."""
        if self.folder is not None:
            return self.folder / "backbone"
        return checkpoint_folder(self.settings.teacher_model, key=KEY)

    @cached_property
    def bundle(self) -> Bundle:
        """The model of a run. Raises ConfigError where it reads no texts, SetupError where it is harmed."""
        assert self.folder is not None
        loaded = Bundle.load(self.folder, trust_remote_code=self._block.trust_remote_code)
        if not isinstance(loaded.inputs, TextInputs):
            name = self.settings.teacher_model
            raise ConfigError(f"{KEY}: '{name}' reads events, and the student texts; name one of texts")
        return loaded

    def language_teacher(self, keys: list[tuple[str, str]], *, packed: bool) -> RunningTeacher:
        """Return the language model as a teacher of the language heads `keys`.

        packed: whether it will read packed texts. Raises ConfigError where it does not fit the student.
        """
        backbone = self.student.model.backbone
        assert isinstance(backbone, TextBackbone)
        if backbone.output_layer[1] is not None:
            raise ConfigError(
                f"model.teacher_student_config: the output layer of '{backbone.model_name}' has a bias, which "
                "distillation does not compute; choose another student"
            )
        model = load_language_model(self.settings.teacher_model, self._block, key=KEY) if self.folder is None else (
            self._backbone.language_model
        )  # fmt: skip
        if packed:
            check_packing(model.base_model)
        return self._running(model, keys)

    def encoder_teacher(self) -> RunningTeacher:
        """Return the encoder as a teacher of nothing but its inner states."""
        if self.folder is not None:
            return self._running(self._backbone.encoder, [])
        return self._running(load_encoder(self.settings.teacher_model, self._block, key=KEY)[0], [])

    def _running(self, model: PreTrainedModel, keys: list[tuple[str, str]]) -> RunningTeacher:
        own = self.student.inputs
        assert isinstance(own, TextInputs)
        check_same_tokens(own.tokenizer, self._tokenizer, teacher_name=self.settings.teacher_model)
        reduce_precision(model, self.settings.teacher_dtype)
        return RunningTeacher(model, self.settings, keys)

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        if self.folder is None:
            return load_tokenizer(self._block, key=KEY)
        assert isinstance(self.bundle.inputs, TextInputs)
        tokenizer: PreTrainedTokenizerBase = self.bundle.inputs.tokenizer
        return tokenizer

    @property
    def _backbone(self) -> TextBackbone:
        backbone = self.bundle.model.backbone
        if not isinstance(backbone, TextBackbone):
            raise ConfigError(f"{KEY}: {type(backbone).__name__} hands on no inner states to match; remove the block")
        return backbone

    @property
    def _block(self) -> Any:
        """The student's block of the model, as it would be of the teacher."""
        model = self.settings.teacher_model
        cleared = {"base_model": model, "tokenizer": None, "dropout": None, "teacher_student_config": None}
        return self.student.config.model.model_copy(update=cleared)


def bundle_folder(name: str) -> Path | None:
    """Return the folder of a trained model of Jenga that `name` is, or holds as ``best/``; None where it is neither."""
    return next((each for each in (Path(name), Path(name) / "best") if (each / "jenga.json").is_file()), None)
