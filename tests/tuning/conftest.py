"""A small experiment to search, and what of a study is the same however often it was killed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPACE = {
    "training.learning_rate.backbone": {"low": 1e-4, "high": 1e-1, "log": True},
    "training.batch_size": [4, 8],
    "fusion.type": ["none", "attention"],
}


@pytest.fixture
def searched(settings: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a function that makes an experiment of four steps, each judged, with a block `tune` of its arguments."""

    def make(**tune: Any) -> dict[str, Any]:
        return settings(
            "mood",
            training={"epochs": None, "max_steps": 4, "log_every_steps": 2},
            evaluation={"every_steps": 1, "metric": "eval_loss"},
            checkpoint={"every_steps": 1},
            tune={"space": SPACE, "trials": 3, **tune},
        )

    return make


@pytest.fixture
def outcome() -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    """Return a function from study.json to what its trials drew and scored, and all that their runs wrote of metrics.

    Without times and places, which differ.
    """

    def of(found: dict[str, Any]) -> list[dict[str, Any]]:
        trials = []
        for trial in found["trials"]:
            log = Path(trial["run"]) / "metrics.jsonl"
            lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
            records = [{key: value for key, value in line.items() if key != "time_s"} for line in lines]
            trials.append({**{key: trial[key] for key in trial if key not in ("run", "seconds")}, "records": records})
        return trials

    return of
