"""Whose turn it is, by the configuration."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from jenga.bundle import schema
from jenga.config.schema import ExperimentConfig
from jenga.trainer.turns import make_sampler


def config(**training: Any) -> ExperimentConfig:
    blocks = {
        "few": {"base_model": "x", "training": {"epochs": 2, "batch_size": 4}},
        "many": {"base_model": "x", "training": {"epochs": 6, "batch_size": 8}},
    }
    tasks = [{"name": name, "type": "classification", "data_path": "x", "backbone": name} for name in ("few", "many")]
    given = {"epochs": 2, "batch_size": 8, "scheduler": "linear", **training}
    return schema().model_validate(
        {
            "model": {"backbones": {name: {"backbone_type": "text", **block} for name, block in blocks.items()}},
            "tasks": tasks,
            "training": given,
        }
    )


def sources(**rows: int) -> list[Any]:
    return [
        SimpleNamespace(name=name, encoder=name, splits={"train": SimpleNamespace(lengths=np.ones(count))})
        for name, count in rows.items()
    ]


def test_each_backbone_has_steps_of_its_own_size_and_its_own_passes_in_the_epochs_of_all() -> None:
    sampler = make_sampler(sources(few=16, many=16), config())
    seen: dict[str, Counter[int]] = {"few": Counter(), "many": Counter()}
    for epoch in range(2):
        for turn in sampler.epoch(epoch):
            seen[turn.source].update(turn.rows)
            assert len(turn.rows) == {"few": 4, "many": 8}[turn.source]
    assert seen == {"few": dict.fromkeys(range(16), 2), "many": dict.fromkeys(range(16), 6)}


def test_a_turn_holds_all_parts_of_an_accumulated_step() -> None:
    sampler = make_sampler(sources(few=16, many=16), config(gradient_accumulation_steps=2))
    assert {(turn.source, len(turn.rows)) for turn in sampler.epoch(0)} == {("few", 8), ("many", 16)}
