"""Training on pictures against a loop that is written by hand: torch's DataLoader, the same network and changes.

The pictures are made up, PNG of 32 pixels a side in a Parquet file; both decode them as they learn from them.
"""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from paired import SMOKE, PairedRatio, compare, held
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from train_steps import steps_of

from jenga.modalities.vision.augment import augmented
from jenga.modalities.vision.networks import TinyVision
from jenga.modalities.vision.settings import AugmentConfig
from jenga.samples.media import SHAPES, generate_shapes

BATCH_SIZE, N_ROWS = (8, 64) if SMOKE else (64, 1024)
AUGMENT = {"shift": 2, "brightness": 0.1}
RATE = 1e-3


@pytest.fixture(scope="module")
def pictures() -> list[tuple[bytes, str]]:
    found = []
    for row in generate_shapes(N_ROWS * 5 // 4):
        file = io.BytesIO()
        Image.fromarray(row["image"]).save(file, "PNG")
        found.append((file.getvalue(), row["shape"]))
    return found


def ours(
    folder: Path, pictures: list[tuple[bytes, str]], *, workers: int
) -> AbstractContextManager[Callable[[], object]]:
    """What takes the next step of training at each call; its worker processes end with it."""
    import pandas as pd

    rows = [{"image": {"bytes": content}, "label": label} for content, label in pictures]
    pd.DataFrame(rows).to_parquet(folder / "rows.parquet")
    settings = {
        "model": {"backbone_type": "vision", "base_model": "jenga/tiny-vision", "augment": AUGMENT},
        "tasks": [{"name": "shape", "type": "classification", "data_path": str(folder / "rows.parquet")}],
        "data": {"valid_fraction": 0.2, "test_fraction": 0.0, "workers": workers},
        "training": {"batch_size": BATCH_SIZE, "epochs": 1000, "learning_rate": RATE},
    }
    return steps_of(settings, folder)


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """The same training pictures as anybody would write it."""

    def __init__(self, pictures: list[tuple[bytes, str]]) -> None:
        self.pictures = pictures[:N_ROWS]
        self.mean, self.std = (torch.tensor(each)[:, None, None] for each in (TinyVision.mean, TinyVision.std))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        content, label = self.pictures[at]
        image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std, SHAPES.index(label)


def hand_written(pictures: list[tuple[bytes, str]], *, workers: int) -> Callable[[], None]:
    """A step of a plain loop at each call: fused AdamW, clipping, a schedule."""
    from transformers import get_scheduler

    network, head = TinyVision(), torch.nn.Linear(TinyVision.width, len(SHAPES))
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, fused=True)
    schedule = get_scheduler("linear", optimizer, num_warmup_steps=100, num_training_steps=100_000)
    config, draw = AugmentConfig(**AUGMENT), torch.Generator().manual_seed(0)
    loader = DataLoader(
        Pictures(pictures), batch_size=BATCH_SIZE, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield from loader

    coming = batches()

    def step() -> None:
        pixels, labels = next(coming)
        _, pooled = network(augmented(pixels, config, draw))
        torch.nn.functional.cross_entropy(head(pooled), labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    return step


def test_a_step_on_pictures_costs_little_over_a_hand_written_loop(
    tmp_path: Path, pictures: list[tuple[bytes, str]], report_ratio: Callable[[str, PairedRatio], None]
) -> None:
    """Ours over the plain loop, both decoding in their own process. Bar: 1.00."""
    with ours(tmp_path, pictures, workers=0) as step:
        ratio = compare(
            step, hand_written(pictures, workers=0), rounds=40, warmup=3, min_round_s=0.0, clock=time.process_time
        )
    report_ratio("vision_step-fp32-32x32: jenga / hand-written loop, processor time", ratio)
    held(ratio, below=1.2)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_on_pictures_of_other_processes(
    tmp_path: Path, pictures: list[tuple[bytes, str]], report_ratio: Callable[[str, PairedRatio], None], workers: int
) -> None:
    """Ours over ours without workers, by the clock on the wall, which only a quiet machine tells."""
    with ours(tmp_path, pictures, workers=0) as alone, ours(tmp_path, pictures, workers=workers) as ahead:
        ratio = compare(ahead, alone, rounds=40, warmup=3, min_round_s=0.0)
    report_ratio(f"vision_step-fp32-32x32: {workers} workers / none", ratio)
