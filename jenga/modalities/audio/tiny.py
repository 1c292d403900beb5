"""The preset: a small encoder of spectra from nothing, which needs no download."""

from __future__ import annotations

from typing import Any

_BANDS = 40
_SECONDS = 30


def tiny_extractor() -> Any:
    """Return what makes log-mel spectra of 40 bands, 100 frames a second, of sound at 16 kHz."""
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor(feature_size=_BANDS, chunk_length=_SECONDS)


def tiny_encoder(dropout: float | None) -> Any:
    """Return two layers of Whisper's encoder, of width 96, with random weights."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    rates = {} if dropout is None else {"dropout": dropout}
    config = WhisperConfig(
        num_mel_bins=_BANDS, d_model=96, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=384,
        max_source_positions=_SECONDS * 50, architectures=[WhisperEncoder.__name__], **rates,
    )  # fmt: skip
    return WhisperEncoder(config)
