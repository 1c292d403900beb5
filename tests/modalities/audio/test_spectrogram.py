"""A clip as a picture for people."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from tones import RATE, tone

from jenga.modalities.audio.clips import Clip
from jenga.modalities.audio.spectrogram import spectrogram
from jenga.modalities.media import Media


def brightest(sound: np.ndarray) -> tuple[float, float]:
    """Return where the brightest part of a spectrogram stands: from the left, and from the top, 0 to 1."""
    made = spectrogram(Clip(Media("s", values=sound, rate=RATE)), RATE)
    pixels = np.asarray(Image.open(io.BytesIO(made)).convert("RGB"), np.float64)
    # magma: what is loud is light and no grey, as axes and their ticks are.
    light = pixels.sum(-1) * (np.ptp(pixels, axis=-1) > 40)
    rows, columns = np.nonzero(light > 0.9 * light.max())
    return float(columns.mean() / pixels.shape[1]), float(rows.mean() / pixels.shape[0])


def test_a_higher_tone_stands_higher_and_a_later_one_further_right() -> None:
    silence = np.zeros(RATE // 2, np.float32)
    low = brightest(np.concatenate([tone(300, 0.5), silence]))
    high = brightest(np.concatenate([silence, tone(RATE * 0.4, 0.5)]))
    assert high[1] < low[1] - 0.3
    assert low[0] < high[0] - 0.2


def test_a_clip_shorter_than_a_window_is_drawn() -> None:
    assert spectrogram(Clip(Media("s", values=tone(300, 0.005), rate=RATE)), RATE).startswith(b"\x89PNG")
