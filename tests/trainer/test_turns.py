"""Whose turn it is, by the configuration."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jenga.bundle import schema
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError
from jenga.trainer.turns import make_sampler, warn_of_lone_tasks


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
        SimpleNamespace(
            name=name, tasks=(name,), encoder=name, splits={"train": SimpleNamespace(lengths=np.ones(count))}
        )
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


def test_together_a_step_has_rows_of_every_backbone_as_many_as_are_asked_for() -> None:
    together = config(sampler="together", rows_per_step={"many": 12}, gradient_accumulation_steps=2)
    sampler = make_sampler(sources(few=16, many=24), together)
    assert [[(part.source, len(part.rows)) for part in turn.parts] for turn in sampler.epoch(0)] == [
        [("few", 8), ("many", 12)]
    ] * 2


def test_tasks_of_the_same_rows_have_one_number_of_them_in_a_step() -> None:
    (source,) = sources(few=16)
    source.tasks = ("few", "many")
    assert make_sampler([source], config(sampler="together", rows_per_step={"many": 5})).rows_per_turn == {"few": 5}
    with pytest.raises(ConfigError, match="few 4, many 5: these tasks read the same rows"):
        make_sampler([source], config(sampler="together", rows_per_step={"few": 4, "many": 5}))


@pytest.mark.parametrize(
    ("training", "tasks", "words"),
    [
        ({"loss_balance": "famo"}, None, "training.loss_balance 'famo' changes nothing"),
        (
            {"loss_balance": "gradnorm", "gradient_conflict": "upgrad"},
            None,
            "and training.gradient_conflict",
        ),
        ({"loss_balance": "famo", "sampler": "together"}, None, None),
        ({"loss_balance": "famo"}, ("few", "many"), None),
        ({"loss_balance": "uncertainty"}, None, None),
    ],
)
def test_what_holds_tasks_against_one_another_is_told_where_no_two_meet(
    training: dict[str, Any], tasks: tuple[str, ...] | None, words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    found = sources(few=16, many=16) if tasks is None else sources(few=16)
    found[0].tasks = tasks or found[0].tasks
    warn_of_lone_tasks(found, config(**training))
    assert [words in each.getMessage() for each in caplog.records if words] == ([] if words is None else [True])
    assert len(caplog.records) == (words is not None)
