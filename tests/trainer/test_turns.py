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
from jenga.trainer.turns import batch_rows, batch_tokens, make_sampler, planned_steps, warn_of_lone_tasks

BY_ROWS = {"few": {"epochs": 2, "batch_size": 4}, "many": {"epochs": 6, "batch_size": 8}}


def config(own: dict[str, dict[str, int]] | None = None, **training: Any) -> ExperimentConfig:
    """own: the training of each backbone."""
    blocks = {name: {"base_model": "x", "training": each} for name, each in (own or BY_ROWS).items()}
    tasks = [{"name": name, "type": "classification", "data_path": "x", "backbone": name} for name in ("few", "many")]
    given = {"epochs": 2, "batch_size": 8, "scheduler": "linear", "weight_decay": 0.01, **training}
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


def of_texts(in_tokens: bool = True, **rows: int) -> list[Any]:
    found = sources(**rows)
    for source in found:
        part = source.splits["train"]
        part.lengths = np.random.default_rng(0).integers(2, 30, len(part.lengths))
        part.encoded = SimpleNamespace(in_tokens=in_tokens)
    return found


BY_TOKENS = {"few": {"epochs": 2, "tokens_per_step": 90}, "many": {"epochs": 6, "batch_size": 8}}


def test_one_backbone_has_steps_by_tokens_and_the_other_one_by_rows() -> None:
    given = config(BY_TOKENS, gradient_accumulation_steps=3)
    found = of_texts(few=100, many=16)
    sampler = make_sampler(found, given)
    lengths = found[0].splits["train"].lengths
    turns = [turn for epoch in range(2) for turn in sampler.epoch(epoch)]
    assert all(lengths[turn.rows].sum() <= 90 for turn in turns if turn.source == "few")
    assert {len(turn.rows) for turn in turns if turn.source == "many"} == {16}, "accumulation adds to rows"
    assert batch_tokens(found, given) == {"few": 30}, "and parts tokens"
    assert batch_rows(found, given) == {"many": 8}


def test_the_steps_that_are_planned_are_those_of_all_epochs() -> None:
    found, given = of_texts(few=100), config({"few": {"epochs": 5, "tokens_per_step": 90}, "many": {}}, epochs=5)
    sampler = make_sampler(found, given)
    lengths = [len(sampler.epoch(epoch)) for epoch in range(5)]
    assert len(set(lengths)) > 1, "epochs differ"
    assert planned_steps(make_sampler(found, given), given) == [sum(lengths)]


@pytest.mark.parametrize(
    ("training", "source", "words"),
    [
        ({}, {"in_tokens": False}, "what few read is not counted in tokens"),
        ({"loss_balance": "famo"}, {}, "training.loss_balance: 'famo' needs the rows of a step in one batch"),
        ({"sampler": "together", "rows_per_step": {"few": 4}}, {}, "training.rows_per_step: few: .* tokens_per_step"),
    ],
)
def test_what_has_no_steps_by_tokens_is_refused(training: dict[str, Any], source: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_sampler(of_texts(few=16, **source), config(BY_TOKENS, **training))


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
