from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from jenga.labels import kind_named
from jenga.labels.curves import MAX_RANKED, calibration_error, curves_of, reliability
from jenga.types import HeadSpace


def test_areas_are_those_of_scikit_learn_with_ties_too() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(500).round(1)
    wanted = rng.random(500) < scores
    (found,) = curves_of((scores, wanted), [("a", scores, wanted)])["ranked"]
    assert found["roc_auc"] == pytest.approx(roc_auc_score(wanted, scores))
    assert found["average_precision"] == pytest.approx(average_precision_score(wanted, scores))
    assert found["support"] == wanted.sum()
    assert (found["roc"][0], found["roc"][-1]) == ([0, 0], [1, 1])
    assert found["precision_recall"][-1] == [1, round(float(wanted.mean()), 4)]


def test_curves_of_many_rows_have_few_points_and_keep_their_shape() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(20_000)
    wanted = rng.random(20_000) < scores
    (found,) = curves_of((scores, wanted), [("a", scores, wanted)])["ranked"]
    rates, recall = np.array(found["roc"]).T
    assert len(rates) <= 62
    assert np.trapezoid(recall, rates) == pytest.approx(found["roc_auc"], abs=0.01)


def test_labels_with_the_most_rows_have_curves_and_one_that_all_or_none_have_has_none() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(100)
    columns = [(f"l{i}", scores, np.arange(100) < i) for i in range(101)]
    found = curves_of((scores, scores > 0.5), columns)
    assert [each["label"] for each in found["ranked"]] == [f"l{i}" for i in range(100 - MAX_RANKED, 100)]
    assert found["labels"] == 99


def test_bins_hold_every_row_once_and_the_error_is_their_distance_from_the_line() -> None:
    scores, right = np.array([0.0, 0.5, 0.5, 1.0]), np.array([False, True, False, True])
    assert reliability(scores, right) == [(0.0, 0.0, 1), (0.5, 0.5, 2), (1.0, 1.0, 1)]
    assert calibration_error(scores, right) == 0
    assert calibration_error(np.array([0.9, 0.9]), np.array([False, False])) == pytest.approx(0.9)


def test_rows_without_a_label_have_no_part_in_them() -> None:
    classes = HeadSpace("t", "h", "class", 2, ("no", "yes"))
    logits = torch.tensor([[0.0, 2.0], [2.0, 0.0], [9.0, -9.0]])
    found = kind_named("class").curves(classes, np.array([1, 0, -100]), list(logits))
    assert found is not None
    assert sum(rows for *_, rows in found["reliability"]) == 2
    assert [each["roc_auc"] for each in found["ranked"]] == [1.0, 1.0]
    items = HeadSpace("t", "h", "items", 2, ("a", "b"))
    targets = np.array([[1.0, np.nan], [0.0, np.nan], [np.nan, np.nan]])
    found = kind_named("items").curves(items, targets, list(logits))
    assert found is not None
    assert [each["label"] for each in found["ranked"]] == ["a"]
    json.dumps(found, allow_nan=False)
    assert kind_named("class").curves(classes, np.full(3, -100), list(logits)) is None
    assert kind_named("items").curves(items, np.full((3, 2), np.nan), list(logits)) is None
    assert kind_named("tags").curves(classes, [np.array([0])], [logits]) is None
