"""Where a teacher comes from: a run of Jenga, or a checkpoint of transformers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jenga import saved
from jenga.bundle import Bundle
from jenga.config.distillation import TeacherStudentConfig
from jenga.distillation.precision import reduce_precision
from jenga.distillation.running import RunningTeacher
from jenga.distillation.vocabulary import check_same_tokens
from jenga.errors import ConfigError
from jenga.labels import kind_named
from jenga.modalities import modality_of
from jenga.modalities.text.language_model import check_packing, load_language_model
from jenga.modalities.text.pretrained import checkpoint_folder, load_encoder, load_tokenizer
from jenga.types import SHARED

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEY = "model.teacher_student_config.teacher_model"


class Origin:
    """The configured teacher of `student`, loaded when it is first asked for.

    `folder`: of the model, where it is a run of Jenga, or a model that one wrote; None for a checkpoint.
    """

    def __init__(self, student: Bundle, settings: TeacherStudentConfig, encoder: str = SHARED) -> None:
        """encoder: the name of the student's backbone that is taught."""
        self.student, self.settings, self.encoder = student, settings, encoder
        self.backbone, self.inputs = student.model.encoders[encoder], student.inputs[encoder]
        self.config = student.config.of_backbone(encoder)
        self.folder = saved.model_in(settings.teacher_model)

    @property
    def generates(self) -> bool:
        """Whether it may be a language model: a checkpoint may, a run of Jenga is one with a language task."""
        if self.folder is None:
            return True
        return any(kind_named(space.kind).from_text for space in saved.read(self.folder).spaces)

    @property
    def checkpoint(self) -> Path:
        """The folder of its weights. Raises SetupError where it cannot be had."""
        if self.folder is not None:
            return saved.encoder_folder(self.folder, SHARED)
        return checkpoint_folder(self.settings.teacher_model, key=KEY)

    @cached_property
    def bundle(self) -> Bundle:
        """The model of a run. Raises ConfigError where it reads no texts, SetupError where it is harmed."""
        assert self.folder is not None
        loaded = Bundle.load(self.folder, trust_remote_code=self._block.trust_remote_code)
        if loaded.config.several:
            raise ConfigError(f"{KEY}: '{self.settings.teacher_model}' has several backbones; name a run of one")
        theirs, ours = (modality_of(each.model.backbone_type) for each in (loaded.config, self.config))
        if type(theirs) is not type(ours):
            name = self.settings.teacher_model
            raise ConfigError(
                f"{KEY}: '{name}' reads {theirs.noun}, and the student {ours.noun}; name one of {ours.noun}"
            )
        return loaded

    def language_teacher(self, keys: list[tuple[str, str]], *, packed: bool) -> RunningTeacher:
        """Return the language model as a teacher of the language heads `keys`.

        packed: whether it will read packed texts. Raises ConfigError where it does not fit the student.
        """
        backbone = self.backbone
        if backbone.output_layer[1] is not None:
            raise ConfigError(
                f"model.teacher_student_config: the output layer of '{backbone.model_name}' has a bias, which "
                "distillation does not compute; choose another student"
            )
        model = load_language_model(self.settings.teacher_model, self._block, key=KEY) if self.folder is None else (
            self._transformer
        )  # fmt: skip
        if packed:
            check_packing(model.base_model)
        return self._running(model, keys)

    def encoder_teacher(self) -> RunningTeacher:
        """Return the encoder as a teacher of nothing but its inner states."""
        if self.folder is not None:
            return self._running(self._transformer.base_model, [])
        return self._running(load_encoder(self.settings.teacher_model, self._block, key=KEY)[0], [])

    def _running(self, model: PreTrainedModel, keys: list[tuple[str, str]]) -> RunningTeacher:
        check_same_tokens(self.inputs.tokenizer, self._tokenizer, teacher_name=self.settings.teacher_model)
        reduce_precision(model, self.settings.teacher_dtype)
        return RunningTeacher(model, self.settings, keys)

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        if self.folder is None:
            return load_tokenizer(self._block, key=KEY)
        (encoder,) = self.bundle.inputs.values()
        tokenizer: PreTrainedTokenizerBase = encoder.tokenizer
        return tokenizer

    @property
    def _transformer(self) -> PreTrainedModel:
        (backbone,) = self.bundle.model.encoders.values()
        if backbone.transformer is None:
            raise ConfigError(f"{KEY}: {type(backbone).__name__} hands on no inner states to match; remove the block")
        return backbone.transformer

    @property
    def _block(self) -> Any:
        """The student's block of the model, as it would be of the teacher."""
        model = self.settings.teacher_model
        cleared = {"base_model": model, "tokenizer": None, "dropout": None, "teacher_student_config": None}
        return self.config.model.model_copy(update=cleared)
