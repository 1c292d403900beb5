"""How far validation rows lie from training rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import seeds

from jenga.sentinel.drift import between_splits, class_heads, of_counts, of_numbers

KEY = ("task", "head")


def source(train: Any, valid: Any, features: Any = (None, None)) -> Any:
    def split(labels: Any, own: Any) -> Any:
        rows = SimpleNamespace(labels={KEY: labels, ("task", "price"): np.zeros(len(labels))})
        encoded = SimpleNamespace(features=own, packed=False, unit="tokens")
        spaces = {KEY: SimpleNamespace(size=4), ("task", "price"): SimpleNamespace(size=1)}

        class Split(SimpleNamespace):
            def __len__(self) -> int:
                return len(labels)

        return Split(rows=rows, encoded=encoded, spaces=spaces, lengths=np.arange(len(labels)) % 9)

    return SimpleNamespace(
        name="calls", splits={"train": split(train, features[0]), "valid": split(valid, features[1])}
    )


def test_labels_that_are_others_drift_and_draws_of_the_same_do_not() -> None:
    rng = np.random.default_rng(seeds.derived(0))
    even, odd = rng.integers(0, 4, 4000), rng.choice(4, 1000, p=[0.7, 0.1, 0.1, 0.1])
    assert between_splits(source(even, rng.integers(0, 4, 1000)), 0.25) == []
    ((what, psi),) = between_splits(source(even, odd), 0.25)
    assert what == "source calls: labels of task.head"
    # The shares .25 of four classes against .7, .1, .1, .1: .45 ln 2.8 + 3 x .15 ln 2.5
    assert psi == pytest.approx(0.45 * np.log(2.8) + 0.45 * np.log(2.5), rel=0.2)


def test_features_drift_by_their_deciles() -> None:
    rng = np.random.default_rng(seeds.derived(1))
    labels, before, after = rng.integers(0, 4, 4000), rng.normal(size=(4000, 3)), rng.normal(size=(1000, 3))
    after[:, 1] += 1
    found = between_splits(source(labels, labels[:1000], (before, after)), 0.25)
    assert [each.what for each in found] == ["source calls: feature 1"]


def test_too_few_rows_say_nothing() -> None:
    assert of_counts(np.array([5, 5]), np.array([10, 0])) is None
    assert of_numbers(np.arange(40.0), np.arange(40.0) + 100) is None


def test_only_heads_with_classes_are_looked_at() -> None:
    labels = np.zeros(10, np.int64)
    assert class_heads(source(labels, labels)) == [KEY]
