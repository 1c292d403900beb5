"""Rows of two kinds whose labels contradict one another, and experiments in stages on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def staged(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that makes an experiment on events in two stages, as a mapping; blocks are merged into it.

    Rows of part b have the labels that part a's have of the opposite numbers: who learns b forgets a.
    """
    rng = np.random.default_rng(0)
    for split, count in (("train", 48), ("test", 24)):
        rows = []
        for at in range(count):
            x, y = (float(sign + 0.2 * rng.normal()) for sign in rng.choice([-1, 1], 2))
            part = "ab"[at % 2]
            up = (x > 0) == (part == "a")
            rows.append({"x": x, "y": y, "part": part, "way": "up" if up else "down", "side": "lr"[int(y > 0)]})
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def make(**blocks: Any) -> dict[str, Any]:
        paths = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
        content: dict[str, Any] = {
            "project_name": "staged",
            "model": {
                "backbone_type": "sequential", "base_model": "mlp", "hidden_sizes": [16],
                "refinery": {"schema": {"fields": [{"path": name, "kind": "numeric"} for name in "xy"]}},
            },
            "tasks": [{"name": "go", "type": "classification", "data_path": paths, "heads": [{"name": "way"}]}],
            "data": {"valid_fraction": 0.0},
            "stages": [{"name": "one", "where": {"part": "a"}}, {"name": "two", "where": {"part": "b"}}],
            "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.05, "log_every_steps": 1},
            "evaluation": {"baselines": []},
            "tracking": {"enabled": False},
            "output_dir": str(tmp_path / "runs"),
        }  # fmt: skip
        for name, block in blocks.items():
            content[name] = {**content[name], **block} if isinstance(content.get(name), dict) else block
        return content

    return make


@pytest.fixture
def two_tasks(staged: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The same rows with a task more, whose own stage comes second; both read the same rows."""
    content = staged()
    (first,) = content["tasks"]
    content["tasks"].append({**first, "name": "look", "heads": [{"name": "side"}]})
    content["stages"] = [{"name": "one", "tasks": ["go"]}, {"name": "two", "tasks": ["look"]}]
    return content
