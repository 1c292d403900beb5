"""What tasks share that label moments of a row."""

from __future__ import annotations

import math
from typing import Any

import torch

from jenga.errors import ConfigError
from jenga.modalities import BaseBackbone
from jenga.types import BackboneOutput


def check_frames(config: Any, backbone: BaseBackbone) -> float:
    """Return the seconds of a frame of `backbone`. Raises ConfigError where it has none; config: the task's block."""
    seconds = backbone.frame_seconds
    if seconds is None:
        raise ConfigError(
            f"tasks[{config.name}].type: '{config.type}' labels moments, and the positions of {backbone.model_name} "
            "are none (AST reads patches of a spectrum; with window_seconds they are whole windows; a backbone of "
            "your own says how long they are by frame_seconds); leave window_seconds out, or choose Whisper, Wav2Vec2, "
            "HuBERT or WavLM"
        )
    return seconds


def own_frames(logits: torch.Tensor, encoded: BackboneOutput) -> torch.Tensor:
    """Return logits ``(B, T, K)`` with NaN at positions that are of no row, by which a row's own are told."""
    return logits.masked_fill(encoded.attention_mask.unsqueeze(-1) == 0, math.nan)
