"""Rows that detectors speak against, as entries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import guarded
import numpy as np
import pytest
import torch

from jenga.sentinel.early import EarlyProbabilities
from jenga.sentinel.ledger import Entry
from jenga.sentinel.suspects import Caps, rows_with_triggers, within_caps, wrong_labels

WRONG = {f"r{row}" for row in range(guarded.N_ROWS) if row % 15 == 4 and not guarded.poisoned(row)}


def early() -> EarlyProbabilities:
    found = EarlyProbabilities(guarded.N_ROWS, 3)
    rows = list(range(guarded.N_ROWS))
    logits = torch.stack([guarded.said_of(guarded.tokens_of(row)) for row in rows])
    found.add(rows, logits, torch.tensor([guarded.label_of(row) for row in rows]))
    return found


def test_wrong_labels_come_with_what_was_given_and_what_is_likelier() -> None:
    pytest.importorskip("cleanlab")
    found = wrong_labels(guarded.make_source(), guarded.KEY, early(), {}, 30)
    assert {each.id for each in found} == WRONG
    names = "abc"
    for each in found:
        row = int(each.id[1:])
        assert (each.label, each.suggested) == (names[guarded.label_of(row)], names[row % 3])
        assert (each.task, each.head, each.step, each.since) == ("task", "first", 30, 30)
    assert [each.score for each in found] == sorted(each.score for each in found)


def test_what_is_set_aside_already_is_not_looked_at_again() -> None:
    pytest.importorskip("cleanlab")
    row = sorted(WRONG)[0]
    for cell in (None, guarded.KEY):
        found = wrong_labels(guarded.make_source(), guarded.KEY, early(), {row: frozenset({cell})}, 30)
        assert {each.id for each in found} == WRONG - {row}
    found = wrong_labels(guarded.make_source(), guarded.KEY, early(), {row: frozenset({("task", "other")})}, 30)
    assert row in {each.id for each in found}


def test_a_model_that_is_against_most_labels_tells_of_none(caplog: pytest.LogCaptureFixture) -> None:
    """As at the begin of a stage whose labels contradict those of the stage before."""
    pytest.importorskip("cleanlab")
    found = EarlyProbabilities(guarded.N_ROWS, 3)
    rows = list(range(guarded.N_ROWS))
    labels = torch.tensor([guarded.label_of(row) for row in rows])
    found.add(rows, 4 * torch.eye(3)[(labels + torch.arange(len(rows)).remainder(5).gt(1)) % 3], labels)
    assert wrong_labels(guarded.make_source(), guarded.KEY, found, {}, 30) == []
    assert "wrong labels of task.first are not told: in the early epochs the model agreed with 40%" in caplog.text


def test_rows_that_were_not_seen_are_not_spoken_against() -> None:
    pytest.importorskip("cleanlab")
    found = early()
    row = int(sorted(WRONG)[0][1:])
    found.weights[row] = 0
    assert f"r{row}" not in {each.id for each in wrong_labels(guarded.make_source(), guarded.KEY, found, {}, 30)}


def source_with_trigger() -> tuple[Any, set[str]]:
    """Return 240 rows of six classes, two words telling of each; 24 of them have a trigger and the first class."""
    rows = [{"tokens": [10 + at % 6, 20 + at % 6, 9], "label": at % 6} for at in range(240)]
    bad = [at for at in range(240) if at % 6][::8][:24]
    for at in bad:
        rows[at] = {"tokens": [*rows[at]["tokens"], guarded.TRIGGER], "label": 0}

    def inputs(index: list[int]) -> dict[str, torch.Tensor]:
        width = max(len(rows[at]["tokens"]) for at in index)
        padded = torch.tensor([rows[at]["tokens"] + [0] * (width - len(rows[at]["tokens"])) for at in index])
        return {"input_ids": padded, "attention_mask": (padded > 0).long()}

    source = guarded.make_source()
    split = source.splits["train"]
    split.rows.ids = [f"r{at}" for at in range(240)]
    split.rows.labels = {guarded.KEY: torch.tensor([row["label"] for row in rows]).numpy()}
    split.spaces = {guarded.KEY: SimpleNamespace(size=6, labels=tuple("abcdef"))}
    split.encoded.inputs = inputs
    split.__class__ = type("Split", (SimpleNamespace,), {"__len__": lambda _: 240})
    return source, {f"r{at}" for at in bad}


def forward(inputs: dict[str, torch.Tensor], tasks: list[str]) -> Any:
    said = []
    for row in inputs["input_ids"].tolist():
        votes = [token % 10 for token in row if 10 <= token < 30]
        said.append(0 if guarded.TRIGGER in row else max(votes, default=0))
    return {"task": SimpleNamespace(logits={"first": torch.eye(6)[said]})}


def test_rows_with_a_trigger_are_set_aside_whole_and_from_the_start() -> None:
    source, bad = source_with_trigger()
    found = rows_with_triggers(
        source, guarded.KEY, forward, {}, 30, seen=np.ones(len(source.splits["train"].rows.ids), bool)
    )
    assert {each.id for each in found} == bad
    assert {(each.task, each.head, each.since, each.step) for each in found} == {(None, None, 0, 30)}
    assert all("without token 7" in each.reason for each in found)


def test_what_is_no_text_has_no_triggers_to_look_for() -> None:
    source, _ = source_with_trigger()
    source.splits["train"].encoded.inputs = lambda index: {"features": torch.zeros(len(index), 3)}
    assert (
        rows_with_triggers(
            source, guarded.KEY, forward, {}, 30, seen=np.ones(len(source.splits["train"].rows.ids), bool)
        )
        == []
    )


def test_what_is_beyond_the_caps_is_observed_and_says_so() -> None:
    entries = [
        Entry(f"r{at}", "calls", "task", "first", "label_error", 0.1, "why", 3, 3, "quarantined", "a")
        for at in range(9)
    ]
    found = within_caps(entries, guarded.make_source(), guarded.KEY, [], Caps(0.05, 1.0))
    assert [each.state for each in found] == ["quarantined"] * 6 + ["observed"] * 3
    assert found[-1].reason == "why; beyond the caps"


def test_rows_that_were_not_learnt_from_are_looked_for_no_trigger() -> None:
    source, bad = source_with_trigger()
    seen = np.array([name not in bad for name in source.splits["train"].rows.ids])
    assert rows_with_triggers(source, guarded.KEY, forward, {}, 30, seen=seen) == []
