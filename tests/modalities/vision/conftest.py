"""Pictures, and an image model of transformers small enough to train in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import seeds
import torch
from PIL import Image


def shape(kind: str, size: int = 24) -> Image.Image:
    """Return a bright disc or a square somewhere on a dark ground."""
    draw = np.random.default_rng(seeds.derived(kind))
    y, x = np.mgrid[:size, :size] - draw.integers(9, 15, 2)[:, None, None]
    inside = x**2 + y**2 < 36 if kind.startswith("disc") else (abs(x) < 6) & (abs(y) < 6)
    values = draw.normal(60, 15, (size, size, 3)) + 150 * inside[..., None]
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@pytest.fixture
def vit(tmp_path: Path) -> str:
    """The folder of a vision transformer of two layers with random weights, and how it reads pictures."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(seeds.derived("vit"))
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4
    )
    ViTModel(config).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text(
        '{"size": {"height": 16, "width": 16}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}'
    )
    return str(tmp_path / "vit")


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
