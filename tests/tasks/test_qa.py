"""Criteria, points, and what does not apply."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from jenga.labels.metric import Metric
from jenga.tasks.classification import ClassificationTask
from jenga.tasks.qa import QAHead, QAScoringConfig, QAScoringTask, free_name
from jenga.types import BackboneOutput, HeadSpace, TaskOutput

ITEMS = HeadSpace("qa", "opening", "items", 3, ("greets", "names", "asks"))
GRADE = HeadSpace("qa", "tone", "class", 3, ("poor", "fair", "good"))
NAN = float("nan")


def task_of(**options: Any) -> QAScoringTask:
    heads = [
        QAHead(name="opening", num_labels=3, **options),
        QAHead(name="tone", kind="class", num_labels=3, **({"item_weights": [0.0, 4.0, 5.0]} if options else {})),
    ]
    return QAScoringTask(QAScoringConfig(name="qa", type="qa_scoring", data_path="x", dropout=0.0, heads=heads), 4)


def test_each_head_is_of_its_own_kind_in_one_loss() -> None:
    task = task_of()
    given = BackboneOutput(torch.randn(2, 3, 4), torch.randn(2, 4), torch.ones(2, 3).long())
    labels = {"opening": torch.tensor([[1.0, 0.0, NAN], [NAN] * 3]), "tone": torch.tensor([2, -100])}
    output = task.get_forward_output(given, labels)
    assert isinstance(output, TaskOutput)
    assert output.count is not None
    assert output.count.tolist() == [2, 1]
    assert [task.kind_of(head) for head in task.config.heads] == ["items", "class"]


def test_points_that_do_not_apply_do_not_count_against_a_row() -> None:
    values = np.array([[1, 0, 1], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
    applicable = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]], bool)
    score = task_of().score("opening", values, applicable)
    np.testing.assert_allclose(score, [2 / 3, 1.0, 0.0, NAN])


def test_item_weights_are_points() -> None:
    task = task_of(item_weights=[1.0, 0.0, 3.0])
    np.testing.assert_allclose(task.score("opening", np.array([[1, 1, 0], [0, 0, 1]])), [0.25, 0.75])
    only_worthless = np.array([[False, True, False]])
    assert np.isnan(task.score("opening", np.array([[1, 1, 1]]), only_worthless)).all()
    np.testing.assert_allclose(task.score("tone", np.array([0, 1, 2])), [0.0, 0.8, 1.0])


def test_a_grade_is_a_share_of_the_best_and_nan_where_it_does_not_apply() -> None:
    score = task_of().score("tone", np.array([0, 1, 2, -100]), np.array([True, True, True, False]))
    np.testing.assert_allclose(score, [0.0, 0.5, 1.0, NAN])


def test_metrics_add_score_error_and_kappa() -> None:
    targets = np.array([[1, 0, NAN], [1, 1, 1], [NAN, NAN, NAN]], np.float32)
    predictions = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1]])
    found = task_of().metrics(ITEMS, predictions, targets)
    assert found["score_mae"] == pytest.approx((0.5 + 1 / 3) / 2)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert -1 <= found["kappa"] <= 1
    assert set(found) <= {metric.name for metric in task_of().declared_metrics(ITEMS)}
    assert Metric("score_mae", greater_is_better=False) in task_of().declared_metrics(GRADE)


def test_metrics_of_a_grade() -> None:
    found = task_of().metrics(GRADE, np.array([2, 1, 0]), np.array([2, 0, -100]))
    assert found["score_mae"] == pytest.approx(0.25)
    assert found["accuracy"] == pytest.approx(0.5)


def test_a_perfect_model_has_no_error_and_full_agreement() -> None:
    targets = np.array([[1, 0, 1], [0, 1, NAN], [0, 0, 1]], np.float32)
    found = task_of().metrics(ITEMS, np.nan_to_num(targets), targets)
    assert (found["score_mae"], found["kappa"]) == (0.0, pytest.approx(1.0))


def test_rows_to_which_nothing_applies_give_no_score_error() -> None:
    found = task_of().metrics(ITEMS, np.ones((2, 3)), np.full((2, 3), NAN, np.float32))
    assert "score_mae" not in found


def qa_task(*heads: QAHead) -> QAScoringTask:
    config = QAScoringConfig(name="QA", type="qa_scoring", data_path="", heads=list(heads))
    return QAScoringTask(config, 4)


@pytest.mark.parametrize("kind", ["items", "class"])
def test_the_score_error_of_rows_drawn_again_is_a_sum_too(kind: str) -> None:
    draw = np.random.default_rng(0)
    if kind == "items":
        space = HeadSpace("QA", "h", "items", 3, ("a", "b", "c"))
        task = qa_task(QAHead(name="h", num_labels=3, item_weights=[3, 1, 0]))
        predictions, targets = draw.random((40, 3)) < 0.5, draw.integers(0, 2, (40, 3)).astype(np.float32)
        targets[draw.random((40, 3)) < 0.3] = np.nan
    else:
        space = HeadSpace("QA", "h", "class", 4, tuple("abcd"))
        task = qa_task(QAHead(name="h", kind="class", num_labels=4))
        predictions, targets = draw.integers(0, 4, 40), draw.integers(0, 4, 40)
        targets[:5] = -100
    found = task.additive(space, predictions, targets)
    assert found is not None
    counts = np.bincount(found.cells, minlength=found.parts.shape[0]).astype(float)
    metrics = task.metrics(space, predictions, targets)
    sums = found.metrics(counts[None] @ found.parts)
    assert {name: sums[name][0] for name in metrics} == pytest.approx(metrics)


def test_score_of_a_task_weighs_its_heads_by_their_points() -> None:
    task = qa_task(
        QAHead(name="items", num_labels=2, item_weights=[3, 1]),
        QAHead(name="grade", num_labels=3, kind="class"),
    )
    found: list[dict[str, Any]] = [{"items": {}, "grade": {}}]
    task.complete(found, {"items": np.array([[1, 0]]), "grade": np.array([1])})
    # 3 of 4 points and 1 of 2 points make 4 of 6.
    assert found == [{"items": {"score": 0.75}, "grade": {"score": 0.5}, "score": pytest.approx(4 / 6, abs=1e-6)}]


def test_head_without_points_has_no_score() -> None:
    task = qa_task(QAHead(name="a", num_labels=1, item_weights=[0]))
    found: list[dict[str, Any]] = [{"a": {}}]
    task.complete(found, {"a": np.array([[1]])})
    assert found == [{"a": {}}]


def test_score_does_not_hide_an_item_or_a_head_of_that_name() -> None:
    task = qa_task(QAHead(name="score", num_labels=1))
    found: list[dict[str, Any]] = [{"score": {"score": {"value": True}}}]
    task.complete(found, {"score": np.array([[1]])})
    assert found == [{"score": {"score": {"value": True}, "score_": 1.0}, "score_": 1.0}]


def test_tasks_that_are_not_scored_stay_as_they_are() -> None:
    config = qa_task(QAHead(name="a", num_labels=1)).config
    found: list[dict[str, Any]] = [{"a": {}}]
    ClassificationTask(config, 4).complete(found, {"a": np.array([1])})
    assert found == [{"a": {}}]


def test_free_name_goes_on_until_it_is_free() -> None:
    assert free_name("score", {"score", "score_"}) == "score__"
