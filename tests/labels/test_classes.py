"""Classes: read as people write them, judged over labelled rows."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import seeds
import torch

from jenga.labels import kind_named
from jenga.labels.judge import head_details, head_metrics
from jenga.labels.unseen import unseen_code
from jenga.types import IGNORE_INDEX, HeadSpace

MOOD = HeadSpace("mood", "label", "class", 3, ("sad", "neutral", "glad"))


def strict_json(details: dict[str, Any]) -> str:
    return json.dumps(details, allow_nan=False)


def test_class_metrics_leave_out_missing_labels() -> None:
    metrics = head_metrics(MOOD, np.array([0, 1, 1, 2]), np.array([0, 0, 1, -100]))
    # sad: precision 1, recall 1/2; neutral: precision 1/2, recall 1; both F1 2/3.
    assert metrics == pytest.approx({"accuracy": 2 / 3, "macro_f1": 2 / 3, "weighted_f1": 2 / 3})


def test_macro_f1_is_over_the_classes_of_the_targets() -> None:
    metrics = head_metrics(MOOD, np.array([0, 0, 0, 2]), np.array([0, 0, 0, 0]))
    # sad: precision 1, recall 3/4. glad, which never occurs, would halve the mean.
    assert metrics["macro_f1"] == pytest.approx(6 / 7)


@pytest.mark.parametrize("rows", [1, 7, 400])
def test_class_metrics_agree_with_sklearn_in_classes_that_training_has_and_has_not(rows: int) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    rng = np.random.default_rng(seeds.derived(rows))
    space = HeadSpace("task", "head", "class", 6, tuple("abcdef"))
    codes = np.array([0, 1, 2, 4, 5, unseen_code("g"), unseen_code("h")])
    targets, predictions = rng.choice(codes, rows), rng.integers(0, 5, rows)
    metrics, seen = head_metrics(space, predictions, targets), np.unique(targets)
    assert metrics["accuracy"] == accuracy_score(targets, predictions)
    for kind in ("macro", "weighted"):
        expected = f1_score(targets, predictions, labels=seen, average=kind, zero_division=0)
        assert metrics[f"{kind}_f1"] == pytest.approx(expected, rel=1e-12)
    # sklearn refuses labels of which no target is one.
    if (targets >= 0).any():
        expected = confusion_matrix(targets, predictions, labels=np.arange(6))
        assert head_details(space, predictions, targets)["confusion"] == expected.tolist()


def test_weighted_f1_weighs_classes_by_their_rows() -> None:
    metrics = head_metrics(MOOD, np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]))
    assert metrics["macro_f1"] == pytest.approx((6 / 7) / 2)
    assert metrics["weighted_f1"] == pytest.approx((6 / 7) * 3 / 4)


def test_rows_of_a_class_that_training_rows_lack_count_as_wrong_and_are_told() -> None:
    gold = np.array([0] * 15 + [1] * 15 + [unseen_code("angry")] * 3)
    predicted = np.where(gold < 0, 1, gold)
    metrics = head_metrics(MOOD, predicted, gold)
    # neutral: 15 hits and 3 false alarms, F1 30/33; angry: F1 0.
    assert metrics["accuracy"] == pytest.approx(30 / 33)
    assert metrics["macro_f1"] == pytest.approx((1 + 30 / 33 + 0) / 3)
    details = head_details(MOOD, predicted, gold)
    assert details["warnings"] == ["3 of 33 rows are of classes that no training row has, and count as wrong"]
    assert details["per_label"][1]["precision"] == pytest.approx(15 / 18)
    assert sum(map(sum, details["confusion"])) == 30
    strict_json(details)
    kind = kind_named("class")
    assert kind.labelled(MOOD, gold).sum() == 33
    assert kind.known(MOOD, gold).sum() == 30
    assert kind.counts(MOOD, gold).tolist() == [15, 15, 0]
    assert kind.agreement(predicted, gold) == 1


def test_a_class_that_training_rows_lack_gives_no_loss() -> None:
    targets = np.array([2, unseen_code("angry"), -100])
    batch = kind_named("class").batches(targets, SimpleNamespace(tokens=None))([0, 1, 2])
    assert batch.tolist() == [2, -100, -100]


def test_confusion_has_targets_in_rows() -> None:
    details = head_details(MOOD, np.array([2, 2, 1]), np.array([0, 0, 1]))
    assert details["confusion"] == [[0, 0, 2], [0, 1, 0], [0, 0, 0]]
    sad, neutral, glad = details["per_label"]
    assert sad == {"label": "sad", "precision": None, "recall": 0.0, "f1": 0.0, "support": 2}
    assert neutral == {"label": "neutral", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert (glad["precision"], glad["recall"], glad["support"]) == (0.0, None, 0)
    strict_json(details)


def test_many_classes_have_their_most_frequent_confusions_in_place_of_a_matrix() -> None:
    """By what there is of rows, not by the square of the classes."""
    space = HeadSpace("task", "head", "class", 20_000, tuple(map(str, range(20_000))))
    gold = np.array([7] * 5 + [9] * 3 + [11, unseen_code("g")])
    predicted = np.array([8] * 3 + [7] * 2 + [2, 2, 9] + [12, 12])
    details = head_details(space, predicted, gold)
    assert "confusion" not in details
    assert details["confused"] == [
        {"label": "7", "predicted": "8", "rows": 3},
        {"label": "9", "predicted": "2", "rows": 2},
        {"label": "11", "predicted": "12", "rows": 1},
    ]
    assert details["per_label"][7] == {"label": "7", "precision": 1.0, "recall": 0.4, "f1": 4 / 7, "support": 5}
    assert (details["per_label"][12]["precision"], details["per_label"][12]["support"]) == (0.0, 0)
    assert len(json.dumps(details)) < 3_000_000


def test_a_head_that_predicts_one_class_only_is_noticed() -> None:
    details = head_details(MOOD, np.array([1, 1, 1]), np.array([0, 1, 2]))
    assert details["warnings"] == ["predicts one class only (neutral)"]


def test_targets_of_one_class_are_noticed_and_not_blamed_on_the_model() -> None:
    details = head_details(MOOD, np.array([1, 1]), np.array([1, 1]))
    assert details["warnings"] == ["every labelled row is neutral"]


def test_kappa_of_grades_counts_far_misses_more() -> None:
    gold = np.array([0, 1, 2, 0, 1, 2])
    near, far = np.array([0, 1, 2, 0, 1, 1]), np.array([0, 1, 2, 0, 1, 0])
    assert kind_named("class").agreement(gold, gold) == 1
    close, distant = kind_named("class").agreement(near, gold), kind_named("class").agreement(far, gold)
    assert close is not None
    assert distant is not None
    assert close > distant


def test_kappa_knows_that_unused_grades_lie_between() -> None:
    # 0 and 4 are four grades apart even where 2 and 3 never occur; by position among the seen they would be two.
    gold, predicted = np.array([0, 0, 1, 4, 4]), np.array([0, 1, 1, 4, 0])
    weights = (np.arange(5)[:, None] - np.arange(5)) ** 2
    observed = weights[gold, predicted].mean()
    expected = weights[gold[:, None], predicted].mean()
    assert kind_named("class").agreement(predicted, gold) == pytest.approx(1 - observed / expected)


def test_kappa_is_undefined_where_one_label_is_all_there_is() -> None:
    assert kind_named("class").agreement(np.array([1, 1]), np.array([1, 1])) is None


def test_the_majority_class_ignores_missing_labels() -> None:
    targets = np.array([-100, -100, -100, 2, 2, 0])
    assert kind_named("class").majority(MOOD, targets, np.zeros(4, dtype=np.int64)).tolist() == [2, 2, 2, 2]


def test_an_error_is_the_loss_of_a_wrong_answer() -> None:
    kind, space = kind_named("class"), HeadSpace("t", "c", "class", 3, ("a", "b", "c"))
    shares = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25], [0.9, 0.05, 0.05]])
    targets = np.array([1, 1, IGNORE_INDEX, unseen_code("d")])
    predictions = kind.predict(shares.log(), 0.5)
    found = kind.errors(space, predictions, targets, list(shares.log()))
    assert found is not None
    # Of a class that has no share, the more certain the answer, the worse.
    assert found.sizes == pytest.approx([-math.log(0.2), 0, 0, -math.log(0.1)], rel=1e-5)
    assert kind.written(space, targets, None) == ["b", "b", "", "(a class of no training row)"]


def test_an_error_of_a_certain_answer_is_finite() -> None:
    kind, space = kind_named("class"), HeadSpace("t", "c", "class", 2, ("a", "b"))
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4]])
    found = kind.errors(space, np.array([0, 0]), np.array([1, unseen_code("d")]), list(logits))
    assert found is not None
    assert np.isfinite(found.sizes).all()
    assert (found.sizes > 1).all()


def test_a_question_of_classes_takes_those_that_no_training_row_has_for_missing() -> None:
    (found,) = kind_named("class").questions(
        HeadSpace("t", "h", "class", 2, ("a", "b")), np.array([0, 1, unseen_code("c"), IGNORE_INDEX])
    )
    assert (found.name, found.classes, found.answers.tolist()) == ("", ("a", "b"), [0, 1, -100, -100])
