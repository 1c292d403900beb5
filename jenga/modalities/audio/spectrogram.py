"""A picture of a clip for people: its spectrogram."""

from __future__ import annotations

import io

import numpy as np
import torch

from jenga.imports import collector_at_rest
from jenga.modalities.audio.clips import Clip, samples

_MOST_SECONDS = 60.0
_INCHES, _DOTS = (3.6, 1.6), 100
_DECIBELS = 80.0
"""What lies further below the loudest is black."""


def spectrogram(clip: Clip, rate: int) -> bytes:
    """Return the spectrogram of the first minute of `clip`, read at `rate`, as a PNG file: kHz over seconds.

    Raises UnusableClipError as `samples` does.
    """
    with collector_at_rest():
        from matplotlib.figure import Figure

    sound = torch.from_numpy(samples(clip, rate, most_seconds=_MOST_SECONDS))
    width = 1 << max(4, round(rate * 0.032) - 1).bit_length()
    window = torch.hann_window(width)
    # Silence around, which a clip shorter than a window needs.
    waves = torch.stft(sound, width, width // 4, window=window, pad_mode="constant", return_complex=True)
    power = waves.abs().square()
    decibels = 10 * np.log10(power.numpy().clip(min=1e-10))
    figure = Figure(figsize=_INCHES, dpi=_DOTS, layout="constrained")
    axes = figure.subplots()
    seconds = clip.start + len(sound) / rate
    axes.imshow(
        decibels, cmap="magma", vmin=decibels.max() - _DECIBELS, vmax=decibels.max(), origin="lower", aspect="auto",
        extent=(clip.start, seconds, 0, rate / 2000),
    )  # fmt: skip
    axes.tick_params(labelsize=7)
    axes.set_xlabel("seconds", fontsize=7)
    axes.set_ylabel("kHz", fontsize=7)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
