"""Which way a metric is better."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jenga.labels import LABEL_KINDS, kind_named
from jenga.labels.judge import head_metrics
from jenga.labels.metric import KNOWN_DIRECTIONS, Metric
from jenga.types import HeadSpace

MOOD = HeadSpace("mood", "label", "class", 3, ("sad", "neutral", "glad"))


STEPS = HeadSpace("qa", "opening", "items", 3, ("greeting", "name", "consent"))


NER = HeadSpace("ner", "entities", "tags", 5, ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))


WAIT = HeadSpace("wait", "value", "number", 2, ("minutes", "calls"))


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
    assert set(metrics) == {metric.name for metric in kind_named(space.kind).metrics}
    assert all(type(value) is float for value in metrics.values())


def test_every_metric_of_a_kind_says_which_way_it_is_better() -> None:
    declared = {metric.name: metric.greater_is_better for name in LABEL_KINDS for metric in kind_named(name).metrics}
    assert {name for name, greater in declared.items() if greater is False} == {
        "mae",
        "rmse",
        "perplexity",
        "wer",
        "cer",
    }
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
