"""Boosted trees as a baseline: what they learn, of every kind of head, and where there is nothing to learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jenga.modalities.events.baseline import Boosting
from jenga.modalities.events.features import Features
from jenga.rows.batches import EncodedSplit
from jenga.rows.parse import Rows
from jenga.types import HeadSpace

RNG = np.random.default_rng(0)
TRAIN, TEST = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (400, 200))


def space(kind: str, *labels: str) -> HeadSpace:
    return HeadSpace("task", "head", kind, len(labels), labels)


def boosting(
    space: HeadSpace, train: tuple[np.ndarray, Any], test: tuple[np.ndarray, Any], *, normal: int | None = None
) -> dict[str, float]:
    """The metrics on the features and targets of `test`."""
    parts = [
        EncodedSplit("rows", Rows(ids=[""] * len(features), labels={("task", "head"): targets}), Features(features), {})
        for features, targets in (train, test)
    ]
    return Boosting(*parts).metrics(space, normal=normal)


def classes(features: np.ndarray) -> np.ndarray:
    return (features[:, 0] > 0).astype(np.int64) + (features[:, 1] > 1)


def test_classes_are_learnt_from_labelled_rows() -> None:
    gold = classes(TRAIN)
    gold[::2] = -100
    found = boosting(space("class", "a", "b", "c"), (TRAIN, gold), (TEST, classes(TEST)))
    assert found["accuracy"] > 0.9
    assert "auroc" not in found


def test_anomalies_are_ranked_against_what_is_normal() -> None:
    found = boosting(space("class", "a", "b", "c"), (TRAIN, classes(TRAIN)), (TEST, classes(TEST)), normal=0)
    assert 0.9 < found["auroc"] <= 1
    turned = boosting(space("class", "a", "b", "c"), (TRAIN, classes(TRAIN)), (TEST, classes(-TEST)), normal=0)
    assert turned["auroc"] < 0.5


def test_each_item_is_learnt_by_itself() -> None:
    def items(features: np.ndarray) -> np.ndarray:
        return np.stack([features[:, 2] > 0, np.ones(len(features))], axis=1).astype(np.float32)

    gold = items(TRAIN)
    gold[:50, 0] = np.nan
    found = boosting(space("items", "x", "always"), (TRAIN, gold), (TEST, items(TEST)))
    assert found["macro_f1"] > 0.9


def test_numbers_are_learnt() -> None:
    gold = 100 + 10 * TRAIN[:, :1]
    gold[:50] = np.nan
    found = boosting(space("number", "n"), (TRAIN, gold), (TEST, 100 + 10 * TEST[:, :1]))
    assert found["mae"] < 2


def test_the_same_rows_give_the_same_numbers() -> None:
    twice = [boosting(space("class", "a", "b"), (TRAIN, classes(TRAIN) % 2), (TEST, classes(TEST) % 2)) for _ in "ab"]
    assert twice[0] == twice[1]


def test_a_head_with_one_class_answers_it() -> None:
    gold = np.zeros(len(TRAIN), np.int64)
    found = boosting(space("class", "a", "b"), (TRAIN, gold), (TEST, gold[: len(TEST)]), normal=0)
    assert found["accuracy"] == 1.0
    assert "auroc" not in found


@pytest.mark.parametrize(("kind", "missing"), [("class", np.full(400, -100)), ("number", np.full((400, 1), np.nan))])
def test_a_head_without_labels_has_no_metrics(kind: str, missing: Any) -> None:
    present = np.zeros_like(missing[:200])
    assert boosting(space(kind, "a"), (TRAIN, missing), (TEST, present)) == {}
    assert boosting(space(kind, "a"), (TRAIN, np.zeros_like(missing)), (TEST, missing[:200])) == {}
