"""Encoders of sound of transformers: Whisper's at a clip's own length, Wav2Vec2 and its kin, AST."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from jenga.errors import ConfigError, JengaError, SetupError
from jenga.modalities.audio.characters import read_characters
from jenga.modalities.audio.encoder import SPECTRA, SUPPORTED
from jenga.modalities.audio.settings import TINY_AUDIO, AudioConfig
from jenga.modalities.audio.tiny import tiny_encoder
from jenga.modalities.audio.windows import WINDOWS_AT_ONCE, pooled_by_row
from jenga.modalities.backbone import BackboneManager, Recipe
from jenga.modalities.text.pretrained import cannot_load, check_complete, checkpoint_of, read_checkpoint
from jenga.modalities.text.remote_code import never_asked
from jenga.modalities.transformer import TransformerBackbone, load_adapted, load_whole
from jenga.peft import base_of
from jenga.types import BackboneOutput, States

_SCORE_FILE = "jenga_pooling.safetensors"
_FRAMES_A_SECOND, _SHORTENED = 100, 2
"""Of Whisper's spectra, and how many of them become one of the encoder's."""


@BackboneManager.register("audio", config=AudioConfig)
class AudioBackbone(TransformerBackbone):
    """A model of sound without its head; `pooler_output` is a mean over the frames of the clip, not of the filling."""

    modality = "audio"

    def __init__(self, model_name: str, config: AudioConfig) -> None:
        super().__init__(model_name, config)
        self.encoder = _load(model_name, config)
        self.is_whisper = self.encoder.config.model_type == "whisper"
        self.score = nn.Linear(self.hidden_size, 1) if config.pooling == "attention" else None

    @property
    def recipe(self) -> Recipe:
        """By what the weights were before the first step: trained, or random (of the preset)."""
        if self.model_name == TINY_AUDIO:
            return Recipe.from_nothing(self.hidden_size)
        recipe = Recipe.pretrained(self.hidden_size)
        return Recipe(recipe.rates, visits=10_000, usual_epochs=3, most_epochs=20, largest_batch=16)

    @property
    def frame_seconds(self) -> float | None:
        """Seconds of a frame; None of encoders that read a spectrum in patches, and where windows are pooled."""
        if self.config.window_seconds is not None:
            return None
        if self.is_whisper:
            return _SHORTENED / _FRAMES_A_SECOND
        strides = getattr(self.encoder.config, "conv_stride", None)
        return None if strides is None else math.prod(strides) / self._rate

    @property
    def _rate(self) -> int:
        """The samples a second that the checkpoint reads, as its extractor says."""
        from transformers import AutoFeatureExtractor

        name, allowed = checkpoint_of(self.model_name), self.config.trust_remote_code
        with never_asked(allowed):
            return int(AutoFeatureExtractor.from_pretrained(name, trust_remote_code=allowed).sampling_rate)

    @property
    def character_layer(self) -> Mapping[str, tuple[torch.Tensor, torch.Tensor]]:
        """The output layer of a checkpoint ``...ForCTC``, by the characters of its vocabulary."""
        if self.model_name == TINY_AUDIO:
            return {}
        return read_characters(checkpoint_of(self.model_name), self.config)

    def frames(self, lengths: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Return the frames of clips of so many frames of a spectrum, or samples; None of patches."""
        if self.is_whisper:
            return -(-lengths // _SHORTENED)
        shortened = getattr(self.encoder, "_get_feat_extract_output_lengths", None)
        if shortened is None:
            return None
        found: NDArray[np.int64] = shortened(torch.from_numpy(lengths)).numpy()
        return found.clip(min=0)

    def forward(self, **inputs: torch.Tensor) -> BackboneOutput:
        """Encode ``input_features (B, F, T)`` of Whisper, or ``input_values``, with ``attention_mask (B, T)``.

        The mask that is handed on is that of the frames that the encoder makes. Where a second axis is that of a row's
        windows, they are pooled by row, and positions of the output are windows.
        """
        mask = inputs["attention_mask"]
        values = inputs["input_features" if self.is_whisper else "input_values"]
        if mask.ndim == 3:
            forget = self.training and torch.is_grad_enabled() and int(mask.any(-1).sum()) > WINDOWS_AT_ONCE
            return pooled_by_row(self._window, values, mask, forget=forget)
        hidden, mask, states = self._heard(values, mask)
        return BackboneOutput(hidden, self._pooled(hidden, mask)[0], mask, states=states)

    def keep_states(self, *, hidden_states: bool, attentions: bool) -> None:
        """Hand on what every layer makes, in training, for a teacher's sake. Raises ConfigError of windows."""
        if self.config.window_seconds is not None:
            raise ConfigError(
                "model.window_seconds: windows are pooled by row, and hand on no inner states to match; remove it, or "
                "hidden_states and attentions of the teacher"
            )
        super().keep_states(hidden_states=hidden_states, attentions=attentions)

    def _window(self, values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, mask, _ = self._heard(values, mask)
        return self._pooled(hidden, mask)

    def _heard(self, values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, States | None]:
        """Return the frames of clips ``(B, T, H)``, which of them are a clip's own ``(B, T)``, and the inner states."""
        if self.is_whisper:
            return *self._whisper(values, mask), None
        output = self._others(values, mask, self.wanted_states if self.training else {})
        hidden = output.last_hidden_state
        states = States(output.get("hidden_states"), output.get("attentions"))
        return hidden, self._shortened(mask, hidden.shape[1]), states

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a vector of each clip ``(B, H)``, and the logarithm of what its frames weigh together ``(B,)``."""
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        weight = weights.sum(1).log()
        if self.score is not None:
            scores = self.score(hidden).masked_fill(weights == 0, -torch.inf)
            weights, weight = scores.softmax(1), scores.logsumexp(1)
        return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1e-6), weight.squeeze(1)

    def _whisper(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode spectra of any length up to the model's 30 seconds, with the positions of their own length.

        Each clip sees itself and silence up to min_seconds, whatever stands beside it in the batch.
        """
        encoder = self.encoder
        gelu = nn.functional.gelu
        hidden = gelu(encoder.conv2(gelu(encoder.conv1(features)))).transpose(1, 2)
        length = hidden.shape[1]
        positions = encoder.embed_positions.weight
        if length > positions.shape[0]:
            raise ConfigError(
                f"model.max_seconds: a clip has {length} frames, and the model positions for {positions.shape[0]}; "
                "lower it"
            )
        hidden = nn.functional.dropout(hidden + positions[:length], p=encoder.dropout, training=self.training)
        real = -(-mask.sum(1) // _SHORTENED)
        least = math.ceil(self.config.min_seconds * _FRAMES_A_SECOND / _SHORTENED)
        at = torch.arange(length, device=mask.device)
        seen = at < real.clamp_min(least).unsqueeze(1)
        barrier = None
        # A traced graph has to do for batches of either kind.
        if torch.compiler.is_exporting() or not bool(seen.all()):
            barrier = torch.zeros(seen.shape, dtype=hidden.dtype, device=hidden.device)
            barrier = barrier.masked_fill(~seen, torch.finfo(hidden.dtype).min)[:, None, None, :]
        for layer in encoder.layers:
            hidden = layer(hidden, barrier)
        return encoder.layer_norm(hidden), (at < real.unsqueeze(1)).long()

    def _others(self, values: torch.Tensor, mask: torch.Tensor, wanted: dict[str, bool]) -> Any:
        if self._takes_mask:
            return self.encoder(values, attention_mask=mask, **wanted)
        return self.encoder(values, **wanted)

    @property
    def _takes_mask(self) -> bool:
        """Whether the encoder reads a mask: those whose first layers normalise over time were trained without."""
        return bool(getattr(self.encoder.config, "feat_extract_norm", None) == "layer")

    def _shortened(self, mask: torch.Tensor, length: int) -> torch.Tensor:
        if hasattr(self.encoder, "_get_feature_vector_attention_mask"):
            shortened: torch.Tensor = self.encoder._get_feature_vector_attention_mask(length, mask)
            return shortened.long()
        return mask.new_ones(mask.shape[0], length)

    def save(self, folder: Path) -> None:
        """Write a plain transformers checkpoint, or adapters alone, and what pools beside it."""
        super().save(folder)
        if self.score is not None:
            from safetensors.torch import save_file

            save_file({name: each.contiguous() for name, each in self.score.state_dict().items()}, folder / _SCORE_FILE)

    @classmethod
    def load(cls, folder: Path, model_name: str, config: AudioConfig) -> TransformerBackbone:
        """Load what `save` wrote; model_name: the base of adapters, not read otherwise. Raises SetupError."""
        make = lambda name: cls(name, config)  # noqa: E731
        backbone = load_whole(folder, make) if base_of(folder) is None else load_adapted(folder, model_name, make)
        assert isinstance(backbone, AudioBackbone)
        if backbone.score is not None:
            _read_score(backbone.score, folder / _SCORE_FILE)
        return backbone


def _load(name: str, config: AudioConfig) -> Any:
    """Return a checkpoint's encoder in float32. Raises ConfigError where it is none of sound."""
    if name == TINY_AUDIO:
        return tiny_encoder(config.dropout)
    from transformers import AutoConfig, AutoModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    try:
        with never_asked(config.trust_remote_code):
            settings = AutoConfig.from_pretrained(checkpoint_of(name), trust_remote_code=config.trust_remote_code)
    except JengaError:
        raise
    except Exception as error:  # whatever files that say anything make transformers raise
        raise cannot_load("model.base_model", name, error) from error
    # What training leaves is the encoder alone; what is published has a decoder too.
    alone = (settings.architectures or [None])[0] == WhisperEncoder.__name__
    kind: Any = WhisperEncoder if alone else AutoModel
    model, missing = read_checkpoint(kind, name, config, key="model.base_model", decoders=True)
    check_complete(name, missing, key="model.base_model")
    if settings.model_type == "whisper" and not alone:
        model = model.encoder
    reads = getattr(model, "main_input_name", None)
    if reads not in (SPECTRA, "input_values"):
        raise ConfigError(
            f"model.base_model: '{name}' is a {settings.model_type} model, which reads no sound; choose {SUPPORTED}"
        )
    if reads == SPECTRA and settings.model_type != "whisper":
        raise ConfigError(
            f"model.base_model: '{name}' is a {settings.model_type} model, whose spectra are not read here; choose "
            f"{SUPPORTED}"
        )
    return model


def _read_score(score: nn.Linear, path: Path) -> None:
    """Read what weighs frames. Raises SetupError where the file is not there, or of something else."""
    try:
        score.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise SetupError(f"{path}: {reason}; restore the folder from a copy or train again") from error
