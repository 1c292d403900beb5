"""The preset of sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tones import RATE, tone

from jenga.modalities.audio.backbone import AudioBackbone
from jenga.modalities.audio.settings import TINY_AUDIO, AudioConfig
from jenga.modalities.audio.tiny import tiny_encoder, tiny_extractor


def test_its_spectra_have_100_frames_a_second_and_tell_pitch() -> None:
    low, high = (
        tiny_extractor()(tone(hertz, 1.0), sampling_rate=RATE, padding=False, return_tensors="np")["input_features"][0]
        for hertz in (200, 3000)
    )
    assert low.shape == high.shape == (40, 100)
    assert np.argmax(low.mean(1)) < np.argmax(high.mean(1))


def test_it_comes_back_from_disk_without_a_download(tmp_path: Path) -> None:
    config = AudioConfig(base_model=TINY_AUDIO, min_seconds=0)
    backbone = AudioBackbone(TINY_AUDIO, config).eval()
    inputs = {"input_features": torch.randn(2, 40, 90), "attention_mask": torch.ones(2, 90, dtype=torch.int64)}
    expected = backbone(**inputs).pooler_output
    backbone.save(tmp_path / "saved")
    assert torch.equal(
        AudioBackbone.load(tmp_path / "saved", TINY_AUDIO, config).eval()(**inputs).pooler_output, expected
    )


def test_a_seed_decides_its_weights_and_dropout_is_set() -> None:
    first, second = (torch.manual_seed(1) and tiny_encoder(0.3) for _ in range(2))
    assert torch.equal(first.conv1.weight, second.conv1.weight)
    assert first.dropout == 0.3
