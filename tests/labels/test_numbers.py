"""Numbers: read as people write them, judged over labelled rows."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from jenga.labels import kind_named
from jenga.labels.column import HeadColumn, RowError, numbered_names
from jenga.labels.judge import head_details, head_metrics
from jenga.labels.numbers import MAX_POINTS, NumberReader
from jenga.types import HeadSpace

NAN = math.nan


def encoder(labels: tuple[str, ...], *, configured: bool = False) -> NumberReader:
    column = HeadColumn("task", "head", "number", ("label",), None, labels if configured else None)
    return NumberReader(column, HeadSpace("task", "head", "number", len(labels), labels))


@pytest.mark.parametrize(
    ("size", "value", "numbers"),
    [(1, 2, [2]), (1, "1e3", [1000]), (1, [0.5], [0.5]), (2, [1, None], [1, NAN]), (2, "[1, 2.5]", [1, 2.5])],
)
def test_numbers_alone_in_lists_and_as_text(size: int, value: Any, numbers: list[float]) -> None:
    code = encoder(numbered_names(size)).encode(value)
    assert code.dtype == np.float32
    np.testing.assert_array_equal(code, np.array(numbers, np.float32))


@pytest.mark.parametrize(
    "value",
    ["high", True, {"a": 1}, NAN, math.inf, "nan", "-inf", 1e39, "1e999", 10**400, [[1]]],
    ids=lambda v: str(v)[:9],
)
def test_what_is_no_finite_float32_is_refused(value: Any) -> None:
    with pytest.raises(RowError, match="is no finite number; null where there is none"):
        encoder(("value",)).encode(value)


def test_numbers_of_another_count_are_refused() -> None:
    with pytest.raises(RowError, match="holds 3 numbers; allowed: 2"):
        encoder(("a", "b")).encode([1, 2, 3])


def test_a_number_that_is_nan_is_no_missing_number() -> None:
    assert not encoder(("a",)).is_missing(NAN)
    assert encoder(("a",)).is_missing(None)
    assert encoder(("a",)).is_missing("")


WAIT = HeadSpace("wait", "value", "number", 2, ("minutes", "calls"))


def strict_json(details: dict[str, Any]) -> str:
    return json.dumps(details, allow_nan=False)


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


def test_the_majority_of_numbers_is_the_mean_of_the_labelled() -> None:
    space = HeadSpace("wait", "value", "number", 2, ("minutes", "calls"))
    targets = np.array([[1, NAN], [3, NAN], [NAN, NAN]])
    assert kind_named("number").majority(space, targets, np.zeros((2, 2))).tolist() == [[2, 0], [2, 0]]


def test_an_error_is_in_deviations_of_the_targets() -> None:
    kind = kind_named("number")
    both = HeadSpace("t", "n", "number", 2, ("minutes", "mood"))
    targets = np.array([[10.0, 1.0], [20.0, np.nan], [np.nan, np.nan]])
    predictions = np.array([[15.0, 1.0], [20.0, 7.0], [0.0, 0.0]])
    found = kind.errors(both, predictions, targets, ())
    assert found is not None
    assert found.sizes.tolist() == [1.0, 0.0, 0.0]  # the deviation of minutes is 5
    assert kind.written(both, targets, None) == ["minutes 10, mood 1", "minutes 20", ""]
    assert kind.written(HeadSpace("t", "n", "number", 1, ("n",)), np.array([[0.5], [np.nan]]), None) == ["0.5", ""]


def test_each_number_is_a_question_of_its_own() -> None:
    one, other = kind_named("number").questions(
        HeadSpace("t", "h", "number", 2, ("price", "weight")), np.array([[1.0, 2.0], [3.0, np.nan]])
    )
    assert (one.name, one.classes, one.answers.tolist()) == ("price", (), [1.0, 3.0])
    assert (other.name, np.isnan(other.answers).tolist()) == ("weight", [False, True])
