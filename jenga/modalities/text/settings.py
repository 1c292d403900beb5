"""What a configuration says of a model of texts, and of where its rows' texts stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from jenga.config.distillation import TeacherStudentConfig
from jenga.config.paths import PathMark
from jenga.config.strict import Fraction, PositiveInt, Strict

if TYPE_CHECKING:
    from jenga.modalities.text.windows import Windows


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
    prefix: str | None = Field(
        None,
        description="Put before every text, as 'query: ' of an E5 model, each of a pair and in each window. Absent or "
        "empty: texts are read as they are.",
    )
    window_tokens: PositiveInt | None = Field(
        None,
        description="Read texts of more tokens than that, up to max_length, in windows of so many that overlap. "
        "Absent: max_length is what the encoder reads at once.",
    )
    window_stride_tokens: PositiveInt | None = Field(
        None,
        description="From the beginning of a window to that of the next. Default: three quarters of the tokens of the "
        "text in a window.",
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
    _windows: Windows | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _stride_fits(self) -> Self:
        window, stride = self.window_tokens, self.window_stride_tokens
        if stride is not None and window is None:
            raise ValueError("window_stride_tokens: there are no windows; give window_tokens, or leave it out")
        if stride is not None and window is not None and stride > window:
            raise ValueError(
                f"window_stride_tokens: {stride} is more than window_tokens ({window}); what lies between two windows "
                "would not be read"
            )
        return self

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
    def windows(self) -> Windows | None:
        """How long texts are read in windows; None: they are not."""
        assert self._windows is not None or self.window_tokens is None, "the tokenizer decides where windows begin"
        return self._windows

    def with_windows(self, windows: Windows | None) -> Self:
        """Return a copy that says how the tokens of its tokenizer are laid in windows."""
        copy = self.model_copy()
        copy._windows = windows
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
