"""What a configuration says of a model of texts, and of where its rows' texts stand."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr

from jenga.config.distillation import TeacherStudentConfig
from jenga.config.paths import PathMark
from jenga.config.strict import Fraction, Strict


class ModelConfig(Strict):
    """The shared encoder."""

    base_model: Annotated[str, PathMark.NAMED] = Field(
        min_length=1, description="Hub name or folder of a transformers model, or the preset 'jenga/tiny-text'."
    )
    tokenizer: Annotated[str | None, PathMark.NAMED] = Field(
        None, min_length=1, description="Hub name or folder of the tokenizer; default: the model's own."
    )
    pooling: Literal["auto", "pooler", "cls", "mean", "max", "last"] = Field(
        "auto",
        description="How tokens become one vector. auto: as a sentence encoder's checkpoint says, the last real token "
        "for a causal model, the model's own pooler where its checkpoint has one, else the mean.",
    )
    dropout: Fraction | None = Field(None, description="Dropout inside the encoder; default: as the model sets it.")
    trust_remote_code: bool = Field(
        False, description="Run code that comes with the model, its tokenizer or its teacher."
    )
    teacher_student_config: TeacherStudentConfig | None = Field(
        None, description="Distillation from a teacher. Absent: learn from the labels alone."
    )

    _generates: bool = PrivateAttr(default=False)
    _starts_from_nothing: bool = PrivateAttr(default=False)

    @property
    def starts_from_nothing(self) -> bool:
        """Whether the weights are random before the first step."""
        return self._starts_from_nothing

    def with_preset(self, folder: str) -> Self:
        """Return a copy that reads the new model of a preset in `folder`."""
        copy = self.model_copy(update={"base_model": folder})
        copy._starts_from_nothing = True
        return copy

    @property
    def generates(self) -> bool:
        """Whether some task predicts tokens, so that the model's output layer is needed too."""
        return self._generates

    def for_language(self) -> Self:
        """Return a copy for a model with its output layer."""
        copy = self.model_copy()
        copy._generates = True
        return copy


class TextColumnKeys(Strict):
    """Where a row's texts stand."""

    text: str | None = Field(
        None,
        description="Text; words in a list are joined by spaces, turns of {speaker, text} are lines. Default: text, "
        "else tokens.",
    )
    text_pair: str | None = Field(None, description="Second text of a pair.")
    tokens: str | None = Field(None, description="Words of a row whose tags are given by word. Default: tokens.")
