"""Sound and pictures written by a seeded generator: what a newcomer trains on before rows of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

N_TONES, N_SHAPES, N_SPELT, N_SCENES = 360, 720, 900, 480
RATE = 8000
SIDE = 32
PITCHES = {"low": 220.0, "middle": 660.0, "high": 1760.0}
SOUNDS = ("sine", "square", "chirp")
LETTERS = {"a": 300.0, "e": 520.0, "i": 900.0, "o": 1500.0, "u": 2500.0}
SCENE_SECONDS = 4.0
EVENTS = ("beep", "buzz", "sweep")
SHAPES = ("disc", "square", "triangle")
COLOURS = {"red": (200, 60, 50), "green": (60, 170, 80), "blue": (60, 90, 200)}


def generate_tones(count: int = N_TONES, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield clips of a third of a second to one, in noise: ``audio``, and ``pitch`` and ``sound`` to be told."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        pitch, sound = str(draw.choice(list(PITCHES))), str(draw.choice(SOUNDS))
        seconds = draw.uniform(0.33, 1.0)
        at = np.arange(round(seconds * RATE)) / RATE
        hertz = PITCHES[pitch] * draw.uniform(0.85, 1.15)
        sweep = hertz * (1 + 0.15 * at / seconds) if sound == "chirp" else hertz
        wave = np.sin(2 * np.pi * sweep * at + draw.uniform(0, 2 * np.pi))
        wave = np.sign(wave) * 0.6 if sound == "square" else wave
        heard = draw.uniform(0.1, 0.6) * wave + draw.normal(0, 0.05, len(at))
        audio = {"array": heard.astype(np.float32), "sampling_rate": RATE}
        yield {"id": f"tone-{number:03d}", "audio": audio, "pitch": pitch, "sound": sound}


def generate_spelt(count: int = N_SPELT, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield clips of one word or two, in noise: a tone a letter, a pause for the blank; ``audio`` and ``text``."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        words = ["".join(draw.choice(list(LETTERS), draw.integers(1, 5))) for _ in range(draw.integers(1, 3))]
        parts = []
        for letter in " ".join(words):
            length = draw.uniform(0.2, 0.3) if letter == " " else draw.uniform(0.07, 0.12)
            at = np.arange(round(length * RATE)) / RATE
            hertz = 0.0 if letter == " " else LETTERS[letter] * draw.uniform(0.9, 1.1)
            parts += [0.4 * np.sin(2 * np.pi * hertz * at), np.zeros(round(draw.uniform(0.04, 0.07) * RATE))]
        wave = np.concatenate(parts)
        heard = wave + draw.normal(0, 0.03, len(wave))
        audio = {"array": heard.astype(np.float32), "sampling_rate": RATE}
        yield {"id": f"spelt-{number:03d}", "audio": audio, "text": " ".join(words)}


def generate_scenes(count: int = N_SCENES, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield clips of four seconds of noise in which up to three sounds begin and end: ``audio`` and ``events``."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        heard = draw.normal(0, 0.05, round(SCENE_SECONDS * RATE))
        events = []
        for label in draw.choice(EVENTS, draw.integers(0, 4), replace=False):
            seconds = draw.uniform(0.4, 1.2)
            start = draw.uniform(0.0, SCENE_SECONDS - seconds)
            first = round(start * RATE)
            at = np.arange(round(seconds * RATE)) / RATE
            hertz = {"beep": 1000.0 + 0 * at, "buzz": 120.0 + 0 * at, "sweep": 1600.0 + 1200.0 * at / seconds}[label]
            wave = np.sin(2 * np.pi * np.cumsum(hertz) / RATE)
            heard[first : first + len(at)] += draw.uniform(0.2, 0.5) * (np.sign(wave) if label == "buzz" else wave)
            events.append({"start": round(start, 3), "end": round(start + seconds, 3), "label": str(label)})
        audio = {"array": heard.astype(np.float32), "sampling_rate": RATE}
        yield {"id": f"scene-{number:03d}", "audio": audio, "events": events}


def generate_shapes(count: int = N_SHAPES, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield pictures of 32 pixels a side, in noise: ``image``, and ``shape`` and ``colour`` to be told."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        shape, colour = str(draw.choice(SHAPES)), str(draw.choice(list(COLOURS)))
        reach = draw.uniform(6, 11)
        middle = draw.uniform(reach + 1, SIDE - reach - 1, 2)
        y, x = (grid - centre for grid, centre in zip(np.mgrid[:SIDE, :SIDE], middle, strict=True))
        inside = {
            "disc": x**2 + y**2 < reach**2,
            "square": np.maximum(abs(x), abs(y)) < reach * 0.85,
            "triangle": (y < reach * 0.8) & (abs(x) < (y + reach) * 0.55),
        }[shape]
        ground = draw.uniform(40, 215)
        painted = np.where(inside[..., None], np.array(COLOURS[colour], float), ground)
        image = (painted + draw.normal(0, 18, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
        yield {"id": f"shape-{number:03d}", "image": image, "shape": shape, "colour": colour}
