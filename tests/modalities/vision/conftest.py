"""Pictures, and an image model of transformers small enough to train in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import seeds
from PIL import Image


def shape(kind: str, size: int = 24) -> Image.Image:
    """Return a bright disc or a square somewhere on a dark ground."""
    draw = np.random.default_rng(seeds.derived(kind))
    y, x = np.mgrid[:size, :size] - draw.integers(9, 15, 2)[:, None, None]
    inside = x**2 + y**2 < 36 if kind.startswith("disc") else (abs(x) < 6) & (abs(y) < 6)
    values = draw.normal(60, 15, (size, size, 3)) + 150 * inside[..., None]
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@pytest.fixture
def vit(make_vit: Callable[..., Path]) -> str:
    """The folder of a vision transformer of two layers with random weights, and how it reads pictures."""
    return str(make_vit())


@pytest.fixture
def write_shapes(tmp_path: Path) -> Callable[[int], Path]:
    """Return a function that writes discs and squares as PNG files with a file of rows; it returns that."""

    def write(count: int) -> Path:
        (tmp_path / "png").mkdir(exist_ok=True)
        lines = ["image,label"]
        for at in range(count):
            kind = "disc" if at % 2 else "square"
            shape(f"{kind} {at}").save(tmp_path / "png" / f"{at}.png")
            lines.append(f"png/{at}.png,{kind}")
        path = tmp_path / "shapes.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
