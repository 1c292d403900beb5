"""Recordings, and checkpoints of sound small enough to train in a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import seeds
import torch
from tones import RATE, tone


@pytest.fixture
def whisper(make_whisper: Callable[..., Path]) -> str:
    """The folder of a Whisper of two layers with random weights, and its extractor."""
    return str(make_whisper())


@pytest.fixture
def wav2vec(tmp_path: Path) -> str:
    """The folder of a Wav2Vec2 of one layer with random weights, and its extractor."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(seeds.derived("wav2vec"))
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8),
        conv_stride=(10, 16), conv_kernel=(10, 16), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer", do_stable_layer_norm=True, layerdrop=0.0,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(tmp_path / "wav2vec")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / "wav2vec")
    return str(tmp_path / "wav2vec")


@pytest.fixture
def ast(tmp_path: Path) -> str:
    """The folder of an audio spectrogram transformer of one layer with random weights, and its extractor."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    torch.manual_seed(seeds.derived("ast"))
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_length=32,
        num_mel_bins=16, patch_size=8, time_stride=8, frequency_stride=8,
    )  # fmt: skip
    ASTModel(config).save_pretrained(tmp_path / "ast")
    ASTFeatureExtractor(max_length=32, num_mel_bins=16).save_pretrained(tmp_path / "ast")
    return str(tmp_path / "ast")


@pytest.fixture
def write_clips(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes tones, low or high, as WAV files with a file of rows; it returns that."""
    import soundfile

    def write(count: int, **more: Any) -> Path:
        (tmp_path / "wav").mkdir(exist_ok=True)
        rows = []
        for at in range(count):
            high = at % 2 == 1
            name = f"wav/{at}.wav"
            soundfile.write(tmp_path / name, tone(1500 if high else 200, 0.3 + at % 5 / 10), RATE)
            rows.append({"id": f"c{at}", "audio": name, "label": "high" if high else "low", **more})
        path = tmp_path / "clips.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
