from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import seeds

from jenga.tasks.metrics import (
    KNOWN_DIRECTIONS,
    MAX_POINTS,
    METRICS,
    Metric,
    agreement,
    head_details,
    head_metrics,
    labelled_rows,
    spans,
)
from jenga.types import HeadSpace, LabelKind

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


def strict_json(details: dict[str, Any]) -> str:
    return json.dumps(details, allow_nan=False)


# ------------------------------------------------------------------------------------------------------------- no label


@pytest.mark.parametrize(("space", "predictions", "targets"), UNLABELLED, ids=lambda value: getattr(value, "kind", ""))
def test_a_head_without_labels_has_no_metrics_and_says_so(space: HeadSpace, predictions: Any, targets: Any) -> None:
    assert labelled_rows(space, targets) == 0
    assert head_metrics(space, predictions, targets) == {}
    assert head_details(space, predictions, targets) == {"warnings": ["no labelled row"]}
    assert agreement(space.kind, predictions, targets) is None


def test_a_row_counts_as_labelled_with_its_first_label() -> None:
    assert labelled_rows(STEPS, np.array([[NAN, NAN, 1], [NAN, NAN, NAN]])) == 1
    assert labelled_rows(NER, [np.array([-100, 0]), np.array([-100]), np.array([], dtype=np.int64)]) == 1


def test_predictions_and_targets_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mood\.label: 2 predictions for 3 targets"):
        head_metrics(MOOD, np.array([0, 1]), np.array([0, 1, 2]))


# ---------------------------------------------------------------------------------------------------------------- class


def test_class_metrics_leave_out_missing_labels() -> None:
    metrics = head_metrics(MOOD, np.array([0, 1, 1, 2]), np.array([0, 0, 1, -100]))
    # sad: precision 1, recall 1/2; neutral: precision 1/2, recall 1; both F1 2/3.
    assert metrics == pytest.approx({"accuracy": 2 / 3, "macro_f1": 2 / 3, "weighted_f1": 2 / 3})


def test_macro_f1_is_over_the_classes_of_the_targets() -> None:
    metrics = head_metrics(MOOD, np.array([0, 0, 0, 2]), np.array([0, 0, 0, 0]))
    # sad: precision 1, recall 3/4. glad, which never occurs, would halve the mean.
    assert metrics["macro_f1"] == pytest.approx(6 / 7)


def test_weighted_f1_weighs_classes_by_their_rows() -> None:
    metrics = head_metrics(MOOD, np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]))
    assert metrics["macro_f1"] == pytest.approx((6 / 7) / 2)
    assert metrics["weighted_f1"] == pytest.approx((6 / 7) * 3 / 4)


def test_confusion_has_targets_in_rows() -> None:
    details = head_details(MOOD, np.array([2, 2, 1]), np.array([0, 0, 1]))
    assert details["confusion"] == [[0, 0, 2], [0, 1, 0], [0, 0, 0]]
    sad, neutral, glad = details["per_label"]
    assert sad == {"label": "sad", "precision": None, "recall": 0.0, "f1": 0.0, "support": 2}
    assert neutral == {"label": "neutral", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert (glad["precision"], glad["recall"], glad["support"]) == (0.0, None, 0)
    strict_json(details)


def test_a_head_that_predicts_one_class_only_is_noticed() -> None:
    details = head_details(MOOD, np.array([1, 1, 1]), np.array([0, 1, 2]))
    assert details["warnings"] == ["predicts one class only (neutral)"]


def test_targets_of_one_class_are_noticed_and_not_blamed_on_the_model() -> None:
    details = head_details(MOOD, np.array([1, 1]), np.array([1, 1]))
    assert details["warnings"] == ["every labelled row is neutral"]


# ---------------------------------------------------------------------------------------------------------------- items


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


# ----------------------------------------------------------------------------------------------------------------- tags


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", set()),
        ("O O", set()),
        ("B-PER I-PER O", {(0, 2, "PER")}),
        ("B-PER B-PER", {(0, 1, "PER"), (1, 2, "PER")}),
        ("O I-PER I-PER", {(1, 3, "PER")}),
        ("B-PER I-LOC", {(0, 1, "PER"), (1, 2, "LOC")}),
        ("O B-LOC I-LOC", {(1, 3, "LOC")}),
        ("B-LOC O I-LOC", {(0, 1, "LOC"), (2, 3, "LOC")}),
    ],
)
def test_spans_of_bio_tags(tags: str, expected: set[tuple[int, int, str]]) -> None:
    names = tags.split()
    assert spans(names, NER.labels) == expected
    assert spans([NER.labels.index(name) for name in names], NER.labels) == expected


def test_spans_keep_the_whole_type_when_it_has_a_hyphen() -> None:
    assert spans(["B-well-being", "I-well-being"], ()) == {(0, 2, "well-being")}


def test_an_unlabelled_word_ends_a_span() -> None:
    assert spans(np.array([1, -100, 2]), NER.labels) == {(0, 1, "PER"), (2, 3, "PER")}


def test_spans_give_back_the_entities_that_the_tags_were_written_from() -> None:
    rng = np.random.default_rng(seeds.derived(0))
    found = 0
    for _ in range(200):
        tags, wanted, word = [0] * 20, set(), 0
        while word < 18:
            length, kind = int(rng.integers(1, 4)), int(rng.integers(0, 3))
            if kind:
                tags[word : word + length] = [2 * kind - 1] + [2 * kind] * (length - 1)
                wanted.add((word, word + length, ("", "PER", "LOC")[kind]))
            word += length
        assert spans(tags, NER.labels) == wanted
        found += len(wanted)
    assert found > 500


def test_a_span_counts_only_with_both_borders_and_its_type() -> None:
    gold = [np.array([1, 2, 0, 3]), np.array([3, 4, 0, 0])]
    predicted = [np.array([1, 2, 0, 1]), np.array([3, 0, 0, 0])]
    metrics = head_metrics(NER, predicted, gold)
    # One of three predicted spans is right, and one of three labelled ones is found; 6 of 8 words are right.
    assert metrics == pytest.approx({"f1": 1 / 3, "precision": 1 / 3, "recall": 1 / 3, "token_accuracy": 6 / 8})


def test_unlabelled_words_and_rows_do_not_count() -> None:
    gold = [np.array([1, -100]), np.array([-100, -100])]
    predicted = [np.array([1, 3]), np.array([1, 3])]
    assert head_metrics(NER, predicted, gold) == {"f1": 1, "precision": 1, "recall": 1, "token_accuracy": 1}


def test_without_any_span_only_token_accuracy_is_defined() -> None:
    assert head_metrics(NER, [np.array([0, 0])], [np.array([0, 0])]) == {"token_accuracy": 1.0}


def test_entities_never_found_score_zero_and_are_noticed() -> None:
    gold, predicted = [np.array([1, 2, 0])], [np.array([0, 0, 0])]
    metrics = head_metrics(NER, predicted, gold)
    assert (metrics["f1"], metrics["precision"], metrics["recall"]) == (0, 0, 0)
    assert head_details(NER, predicted, gold)["warnings"] == ["predicts no entity"]


def test_tags_details_have_a_row_for_every_type() -> None:
    details = head_details(NER, [np.array([1, 0, 3])], [np.array([1, 0, 1])])
    assert details["per_label"] == [
        {"label": "LOC", "precision": 0.0, "recall": None, "f1": 0.0, "support": 0},
        {"label": "PER", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
    ]
    strict_json(details)


# --------------------------------------------------------------------------------------------------------------- number


def test_number_metrics_are_means_over_targets_of_their_labelled_rows() -> None:
    targets = np.array([[1, 10], [2, NAN], [3, 20]], dtype=np.float32)
    predictions = np.array([[1, 12], [2, 99], [5, 18]])
    metrics = head_metrics(WAIT, predictions, targets)
    # minutes: errors 0, 0, 2; calls: errors 2, 2. r2: 1 - 4/2 and 1 - 8/50.
    assert metrics == pytest.approx(
        {"mae": (2 / 3 + 2) / 2, "rmse": (np.sqrt(4 / 3) + 2) / 2, "r2": (-1 + 0.84) / 2, "spearman": 1.0}
    )


def test_spearman_shares_ranks_among_ties() -> None:
    space = HeadSpace("wait", "value", "number", 1, ("minutes",))
    metrics = head_metrics(space, np.array([1, 1, 2, 3.0]), np.array([[1], [2], [3], [4.0]]))
    # Ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4: covariance 4.5 over the root of 4.5 x 5.
    assert metrics["spearman"] == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_r2_and_spearman_are_left_out_where_the_targets_do_not_vary() -> None:
    assert head_metrics(WAIT, np.zeros((2, 2)), np.ones((2, 2))) == {"mae": 1.0, "rmse": 1.0}


def test_one_value_for_all_rows_is_noticed_and_has_no_rank_correlation() -> None:
    targets, predictions = np.array([[1, 1], [3, 3.0]]), np.array([[2, 1], [2, 3.0]])
    assert head_details(WAIT, predictions, targets)["warnings"] == ["predicts one value only for minutes (2)"]
    assert head_metrics(WAIT, predictions, targets)["spearman"] == pytest.approx(1.0)  # that of calls


def test_number_details_keep_few_points_of_the_whole_range() -> None:
    targets = np.stack([np.arange(2000.0), np.full(2000, NAN)], axis=1)
    details = head_details(WAIT, targets + 1, targets)
    (minutes,) = details["per_label"]
    assert (minutes["label"], minutes["labelled"], minutes["mae"]) == ("minutes", 2000, 1.0)
    assert minutes["target_mean"] == 999.5
    assert minutes["target_std"] == pytest.approx(targets[:, 0].std())
    assert len(minutes["points"]) == MAX_POINTS
    assert minutes["points"][0] == [0, 1]
    assert minutes["points"][-1] == [1999, 2000]
    strict_json(details)


# ------------------------------------------------------------------------------------------------------------ agreement


def test_kappa_of_grades_counts_far_misses_more() -> None:
    gold = np.array([0, 1, 2, 0, 1, 2])
    near, far = np.array([0, 1, 2, 0, 1, 1]), np.array([0, 1, 2, 0, 1, 0])
    assert agreement("class", gold, gold) == 1
    close, distant = agreement("class", near, gold), agreement("class", far, gold)
    assert close is not None
    assert distant is not None
    assert close > distant


def test_kappa_knows_that_unused_grades_lie_between() -> None:
    # 0 and 4 are four grades apart even where 2 and 3 never occur; by position among the seen they would be two.
    gold, predicted = np.array([0, 0, 1, 4, 4]), np.array([0, 1, 1, 4, 0])
    weights = (np.arange(5)[:, None] - np.arange(5)) ** 2
    observed = weights[gold, predicted].mean()
    expected = weights[gold[:, None], predicted].mean()
    assert agreement("class", predicted, gold) == pytest.approx(1 - observed / expected)


def test_kappa_of_items_leaves_out_missing_answers() -> None:
    targets = np.array([[1, 0, NAN], [0, 1, NAN]])
    assert agreement("items", np.array([[1, 0, 1], [0, 1, 0]]), targets) == 1
    assert agreement("items", np.array([[1, 1, 1], [1, 1, 0]]), targets) == 0


@pytest.mark.parametrize("kind", ["tags", "number"])
def test_kappa_is_for_classes_and_items(kind: LabelKind) -> None:
    assert agreement(kind, np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]])) is None


def test_kappa_is_undefined_where_one_label_is_all_there_is() -> None:
    assert agreement("class", np.array([1, 1]), np.array([1, 1])) is None


# ---------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("space", "predictions", "targets"),
    [
        (MOOD, np.array([0, 1]), np.array([0, 2])),
        (STEPS, np.ones((2, 3)), np.ones((2, 3))),
        (NER, [np.array([1, 0])], [np.array([1, 3])]),
        (WAIT, np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 2], [3, 5]])),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_the_named_metrics_are_those_that_come(space: HeadSpace, predictions: Any, targets: Any) -> None:
    metrics = head_metrics(space, predictions, targets)
    assert set(metrics) == {metric.name for metric in METRICS[space.kind]}
    assert all(type(value) is float for value in metrics.values())


def test_every_metric_of_a_kind_says_which_way_it_is_better() -> None:
    declared = {metric.name: metric.greater_is_better for metrics in METRICS.values() for metric in metrics}
    assert {name for name, greater in declared.items() if greater is False} == {"mae", "rmse", "perplexity"}
    assert None not in declared.values()


@pytest.mark.parametrize("name", ["loss", "mse", "rmse", "mae", "wer", "cer", "perplexity"])
def test_known_errors_are_better_low(name: str) -> None:
    assert Metric(name).greater_is_better is False


@pytest.mark.parametrize("name", ["own_loss", "net_mse", "spread", "lost_f1", ""])
def test_no_direction_is_guessed_from_a_part_of_a_name(name: str) -> None:
    assert Metric(name).greater_is_better is None
    assert Metric(name, greater_is_better=False).greater_is_better is False


def test_what_a_task_says_wins_over_what_is_known() -> None:
    assert KNOWN_DIRECTIONS["recall"]
    assert Metric("recall", greater_is_better=False).greater_is_better is False
