"""What holds for the metrics of any kind of label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jenga.labels import kind_named
from jenga.labels.judge import head_details, head_metrics, labelled_rows
from jenga.types import HeadSpace

MOOD = HeadSpace("mood", "label", "class", 3, ("sad", "neutral", "glad"))


STEPS = HeadSpace("qa", "opening", "items", 3, ("greeting", "name", "consent"))


NER = HeadSpace("ner", "entities", "tags", 5, ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))


WAIT = HeadSpace("wait", "value", "number", 2, ("minutes", "calls"))


NAN = float("nan")


UNLABELLED: list[tuple[HeadSpace, Any, Any]] = [
    (MOOD, np.array([1, 2]), np.array([-100, -100])),
    (STEPS, np.ones((2, 3)), np.full((2, 3), NAN)),
    (NER, [np.array([1, 0]), np.array([3])], [np.array([-100, -100]), np.array([-100])]),
    (WAIT, np.ones((2, 2)), np.full((2, 2), NAN)),
]


@pytest.mark.parametrize(("space", "predictions", "targets"), UNLABELLED, ids=lambda value: getattr(value, "kind", ""))
def test_a_head_without_labels_has_no_metrics_and_says_so(space: HeadSpace, predictions: Any, targets: Any) -> None:
    assert labelled_rows(space, targets) == 0
    assert head_metrics(space, predictions, targets) == {}
    assert head_details(space, predictions, targets) == {"warnings": ["no labelled row"]}
    assert kind_named(space.kind).agreement(predictions, targets) is None


def test_a_row_counts_as_labelled_with_its_first_label() -> None:
    assert labelled_rows(STEPS, np.array([[NAN, NAN, 1], [NAN, NAN, NAN]])) == 1
    assert labelled_rows(NER, [np.array([-100, 0]), np.array([-100]), np.array([], dtype=np.int64)]) == 1


def test_predictions_and_targets_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mood\.label: 2 predictions for 3 targets"):
        head_metrics(MOOD, np.array([0, 1]), np.array([0, 1, 2]))


@pytest.mark.parametrize("kind", ["tags", "number"])
def test_kappa_is_for_classes_and_items(kind: str) -> None:
    assert kind_named(kind).agreement(np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]])) is None
