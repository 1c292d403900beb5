"""What a configuration says of a model of sound, and of where its rows' recordings stand."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from jenga.config.paths import PathMark
from jenga.config.strict import Fraction, PositiveFloat, Strict

TINY_AUDIO = "jenga/tiny-audio"


class AugmentConfig(Strict):
    """What is changed of training clips, each time anew, drawn from training.seed."""

    time_masks: int = Field(2, ge=0, description="Stretches of time that are blanked (SpecAugment, Park et al. 2019).")
    time_share: Fraction = Field(0.05, description="Longest stretch, as a share of the clip.")
    frequency_masks: int = Field(2, ge=0, description="Bands of frequency that are blanked; of spectra only.")
    frequency_share: Fraction = Field(0.15, description="Widest band, as a share of all.")


class AudioConfig(Strict):
    """An encoder of sound: Whisper's, Wav2Vec2, HuBERT, WavLM, AST."""

    base_model: Annotated[str, PathMark.NAMED] = Field(
        min_length=1,
        description="Hub name or folder of a transformers model of sound (of Whisper, its encoder is taken), or the "
        "preset 'jenga/tiny-audio', a small encoder from nothing.",
    )
    pooling: Literal["mean", "attention"] = Field(
        "mean", description="How frames become one vector: their mean, or a mean that is weighted by a trained score."
    )
    max_seconds: PositiveFloat | None = Field(
        None,
        le=600,
        description="Seconds kept of a clip; default: 30, or all that the model reads, if that is less; "
        "600 with window_seconds.",
    )
    window_seconds: float | None = Field(
        None,
        ge=0.1,
        le=600,
        description="Read recordings in windows of so many seconds, each heard alone, and pooled by row. Absent: only "
        "the beginning of a longer one is read.",
    )
    window_stride_seconds: float | None = Field(
        None, ge=0.1, le=600, description="From the beginning of a window to that of the next. Default: window_seconds."
    )
    min_seconds: Annotated[float, Field(ge=0, le=30)] = Field(
        2.0,
        description="Seconds that a clip of Whisper is filled up to with silence, which it was trained to read 30 of.",
    )
    dropout: Fraction | None = Field(None, description="Dropout inside the encoder; default: as the model sets it.")
    augment: AugmentConfig | None = Field(None, description="Absent: training clips as they are.")
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")

    generates: ClassVar[bool] = False

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        window, stride = self.window_seconds, self.window_stride_seconds
        if stride is not None and window is None:
            raise ValueError("window_stride_seconds: there are no windows; give window_seconds, or leave it out")
        if window is not None and stride is not None and stride > window:
            raise ValueError(
                f"window_stride_seconds: {stride:g} is more than window_seconds ({window:g}); what lies between "
                "two windows would not be heard"
            )
        if window is not None and self.max_seconds is not None and window > self.max_seconds:
            raise ValueError(f"window_seconds: {window:g} is more than max_seconds ({self.max_seconds:g})")
        if self.max_seconds is not None and self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds: {self.min_seconds:g} is more than max_seconds ({self.max_seconds:g})")
        return self


class AudioColumnKeys(Strict):
    """Where a row's recording stands."""

    audio: str | None = Field(
        None, description="Path of a recording, its {bytes}, or {array, sampling_rate}. Default: audio."
    )
    start: str | None = Field(None, description="Second at which the clip begins in it. Default: start, else 0.")
    end: str | None = Field(None, description="Second at which it ends. Default: end, else the recording's end.")
