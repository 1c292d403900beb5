"""Items are judged over labelled answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import seeds
import torch
from torch.nn import functional as F

from jenga.labels import kind_named
from jenga.labels.judge import head_details, head_metrics
from jenga.labels.thresholds import ThresholdRule
from jenga.types import HeadSpace

STEPS = HeadSpace("qa", "opening", "items", 3, ("greeting", "name", "consent"))


NAN = float("nan")


def strict_json(details: dict[str, Any]) -> str:
    return json.dumps(details, allow_nan=False)


def test_items_metrics_count_labelled_answers_only() -> None:
    predictions = np.array([[1, 0, 1], [1, 1, 1]], dtype=bool)
    targets = np.array([[1, 0, NAN], [0, 1, NAN]])
    metrics = head_metrics(STEPS, predictions, targets)
    # greeting: 1 hit, 1 false alarm (F1 2/3); name: 1 hit (F1 1); consent is not labelled.
    assert metrics == pytest.approx({"accuracy": 3 / 4, "macro_f1": (2 / 3 + 1) / 2, "micro_f1": 4 / 5})


def test_an_item_without_any_yes_is_left_out_of_macro_f1() -> None:
    targets = np.array([[1.0, 0, 0], [0, 0, 0]])
    assert head_metrics(STEPS, targets > 0, targets)["macro_f1"] == 1
    one_false_alarm = np.array([[1, 1, 0], [0, 0, 0]])
    assert head_metrics(STEPS, one_false_alarm, targets)["macro_f1"] == 0.5


def test_items_without_any_yes_at_all_have_accuracy_only() -> None:
    assert head_metrics(STEPS, np.zeros((2, 3)), np.zeros((2, 3))) == {"accuracy": 1.0}


def test_items_metrics_agree_with_sklearn_where_nothing_is_missing() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(seeds.derived(0))
    targets, predictions = rng.integers(0, 2, (50, 3)), rng.integers(0, 2, (50, 3))
    metrics = head_metrics(STEPS, predictions, targets.astype(np.float32))
    assert metrics["macro_f1"] == pytest.approx(f1_score(targets, predictions, average="macro"))
    assert metrics["micro_f1"] == pytest.approx(f1_score(targets, predictions, average="micro"))


def test_items_details_have_coverage_and_name_collapsed_and_unlabelled_items() -> None:
    targets = np.array([[1, 0, NAN], [0, NAN, NAN], [1, 1, NAN]])
    predictions = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 1]])
    details = head_details(STEPS, predictions, targets)
    greeting, name, consent = details["per_label"]
    assert (greeting["labelled"], greeting["support"], greeting["positive_rate_predicted"]) == (3, 2, 1.0)
    assert (name["labelled"], name["f1"], name["positive_rate_predicted"]) == (2, 1.0, 0.5)
    assert (consent["labelled"], consent["f1"], consent["positive_rate_predicted"]) == (0, None, None)
    assert details["warnings"] == [
        "predicts one answer only for 1 of 3 items (greeting: yes)",
        "no labelled row for 1 of 3 items (consent)",
    ]
    strict_json(details)


def test_kappa_of_items_leaves_out_missing_answers() -> None:
    targets = np.array([[1, 0, NAN], [0, 1, NAN]])
    assert kind_named("items").agreement(np.array([[1, 0, 1], [0, 1, 0]]), targets) == 1
    assert kind_named("items").agreement(np.array([[1, 1, 1], [1, 1, 0]]), targets) == 0


def test_the_majority_of_items_is_by_item_and_no_where_they_tie() -> None:
    targets = np.array([[1, 1, NAN], [1, 0, NAN], [NAN, NAN, NAN]])
    assert kind_named("items").majority(STEPS, targets, np.zeros((2, 3))).tolist() == [[True, False, False]] * 2


def test_an_error_is_the_loss_of_the_items_that_are_wrong() -> None:
    logits = torch.tensor([[2.0, -1.0, 3.0], [-0.5, 4.0, 0.0], [1.0, 1.0, 1.0]])
    targets = np.array([[0.0, 1.0, 1.0], [0.0, NAN, NAN], [NAN, NAN, NAN]])
    kind = kind_named("items")
    predictions = kind.predict(logits, 0.5)
    found = kind.errors(STEPS, predictions, targets, list(logits))
    wrong = F.binary_cross_entropy_with_logits(
        logits[0, :2].double(), torch.tensor([0.0, 1.0]).double(), reduction="sum"
    )
    assert found is not None
    assert found.sizes == pytest.approx([float(wrong), 0, 0])
    assert kind.written(STEPS, predictions, None) == ["greeting, consent", "name, consent", "greeting, name, consent"]
    assert kind.written(STEPS, targets, None) == ["name, consent", "-", "-"]


def test_each_item_is_a_question_of_its_own() -> None:
    space = HeadSpace("t", "h", "items", 2, ("wet", "cold"))
    wet, cold = kind_named("items").questions(space, np.array([[1.0, np.nan], [0.0, 1.0]]))
    assert (wet.name, wet.classes, wet.answers.tolist()) == ("wet", ("no", "yes"), [1, 0])
    assert (cold.name, cold.answers.tolist()) == ("cold", [-100, 1])


def f1(yes: np.ndarray, target: np.ndarray) -> float:
    labelled = ~np.isnan(target)
    yes, positive = yes[labelled], target[labelled] == 1
    return float(2 * (yes & positive).sum() / max(yes.sum() + positive.sum(), 1))


def test_tuned_thresholds_give_the_best_f1_of_each_item() -> None:
    rng = np.random.default_rng(seeds.derived(0))
    probabilities = np.round(rng.random((60, 4)), 1)  # with many ties
    targets = (rng.random((60, 4)) < probabilities).astype(np.float32)
    targets[rng.random((60, 4)) < 0.2] = NAN
    found = kind_named("items").tuned(probabilities, targets)
    assert found is not None
    for item in range(4):
        reached = f1(probabilities[:, item] >= found[item], targets[:, item])
        best = max(f1(probabilities[:, item] >= cut, targets[:, item]) for cut in np.linspace(0, 1.01, 203))
        assert reached == pytest.approx(best)


def test_an_item_without_a_positive_row_keeps_one_half() -> None:
    targets = np.array([[0.0, NAN], [0.0, NAN]])
    found = kind_named("items").tuned(np.array([[0.2, 0.9], [0.7, 0.1]]), targets)
    assert found is not None
    assert found.tolist() == [0.5, 0.5]


def few_of_some() -> tuple[np.ndarray, np.ndarray]:
    targets = np.zeros((40, 3))
    targets[:10, 0], targets[:4, 1] = 1, 1
    probabilities = np.full((40, 3), 0.1)
    probabilities[:10, 0], probabilities[:4, 1] = 0.9, 0.3
    return probabilities, targets


def test_items_with_few_positive_rows_share_a_threshold() -> None:
    found = kind_named("items").tuned(*few_of_some())
    assert found is not None
    own, few, none = found
    assert (own, few) == pytest.approx((0.5, 0.2))
    assert none == few, "0.2 parts yes from no over all answers"


def test_items_are_chosen_by_what_a_rule_asks_and_those_are_named_that_cannot_have_it() -> None:
    probabilities, targets = few_of_some()
    targets[10:20, 0] = 1
    probabilities[20:30, 0] = 0.95
    chosen = kind_named("items").chosen(STEPS, probabilities, targets, ThresholdRule("precision", 0.9))
    assert chosen is not None
    thresholds, unmet = chosen
    assert thresholds.shape == (3,)
    assert unmet[0] == "greeting: no threshold has a precision of 0.9; the best has 0.5"
    assert [each.partition(":")[0] for each in unmet] == list(STEPS.labels), "two share what all answers cannot have"
