"""Steps of nested learning against plain AdamW: whole steps of training with levels, and the optimizers' own."""

import json
import time
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from paired import SMOKE, PairedRatio, compare
from train_steps import experiment_of, trainer_of

from jenga.optimizers import M3, DeepMomentum
from jenga.optimizers.levels import Levels

Report = Callable[[str, PairedRatio], None]
PERIOD = 8
ROUNDS = 15
SHAPES = [(2000, 128), *[(128, 128)] * 8, *[(512, 128), (128, 512)] * 2, *[(128,)] * 20]
"""Of a small transformer: an embedding, two layers of 128, and their vectors; 0.7 million weights."""


def stepping(folder: Path, **blocks: Any) -> Callable[[], object]:
    """Take a period of steps of `jenga/tiny-text` at each call, on made-up rows of eight words."""
    words = "call good great hello help late no not play right song thanks wrong yes".split()  # noqa: SIM905
    rows = [
        {"id": str(i), "text": " ".join(words[(i * k) % len(words)] for k in range(1, 9)), "mood": "ab"[i % 3 % 2]}
        for i in range(64 if SMOKE else 640)
    ]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    task = {"name": "mood", "type": "classification", "data_path": "rows.jsonl", "heads": [{"name": "mood"}]}
    training = {"batch_size": 16, "epochs": 1000, "log_every_steps": 1000}
    settings: Mapping[str, Any] = {
        "model": {"base_model": "jenga/tiny-text"}, "tasks": [task], "data_root": str(folder), "training": training,
        "data": {"valid_fraction": 0.2, "test_fraction": 0.0, "cache_dir": str(folder)}, **blocks,
    }  # fmt: skip
    trainer = trainer_of(experiment_of(settings, folder), folder)
    turns = cycle(trainer.sampler.epoch(0))

    def period() -> None:
        for _ in range(PERIOD):
            trainer.step(next(turns))

    return period


def test_whole_steps_with_levels_against_plain_adamw(tmp_path: Path, report_ratio: Report) -> None:
    """Everything but the heads learns every 8 steps."""
    levels = {"nested_learning": {"levels": [{"match": "encoders.*", "period": PERIOD}]}}
    ratio = compare(
        stepping(tmp_path, callbacks=levels), stepping(tmp_path), rounds=ROUNDS, warmup=1, clock=time.process_time
    )
    report_ratio("nested-step-tiny-text: levels of period 8 / plain AdamW", ratio)


def optimizing(make: Callable[[Any], torch.optim.Optimizer]) -> Callable[[], object]:
    """Take a period of steps of an optimizer over the weights of a small transformer at each call."""
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for each in weights:
        each.grad = torch.randn_like(each) * 1e-3
    group = {"params": weights, "lr": 1e-3, "weight_decay": 0.01}
    optimizer = make([group])
    for _ in range(2 * PERIOD - 1):
        optimizer.step()
    held = sum(each.numel() * each.element_size() for each in tensors(optimizer.state_dict()["state"]))
    print(f"{make.__name__}: {held / sum(p.numel() for p in weights):.1f} bytes a weight are held")
    optimizer.step()

    def period() -> None:
        for _ in range(PERIOD):
            optimizer.step()

    return period


def tensors(state: Any) -> list[torch.Tensor]:
    """The tensors in a state, at any depth."""
    if isinstance(state, torch.Tensor):
        return [state]
    return [each for part in state.values() for each in tensors(part)] if isinstance(state, dict) else []


def adamw(groups: Any) -> torch.optim.Optimizer:
    """Plain AdamW, as runs have it."""
    return torch.optim.AdamW(groups, fused=True)


def levels(groups: Any) -> torch.optim.Optimizer:
    """All weights in one level of AdamW."""
    of_level = {"level_period": PERIOD, "level_clock": 0, "level_reduction": "mean", "level_max_grad_norm": None}
    return Levels([adamw([{**group, **of_level} for group in groups])])


def levels_of_one(groups: Any) -> torch.optim.Optimizer:
    """As `levels`, at a period of 1."""
    of_level = {"level_period": 1, "level_clock": 0, "level_reduction": "mean", "level_max_grad_norm": None}
    return Levels([adamw([{**group, **of_level} for group in groups])])


@pytest.mark.parametrize("make", [levels, levels_of_one, M3, DeepMomentum])
def test_steps_of_optimizers_against_plain_adamw(make: Any, report_ratio: Report) -> None:
    """Without a model: what the optimizer itself takes."""
    ratio = compare(optimizing(make), optimizing(adamw), rounds=ROUNDS, warmup=1, clock=time.process_time)
    report_ratio(f"nested-optimizer: {make.__name__} / plain AdamW", ratio)
