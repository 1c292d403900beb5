from typing import Any

import numpy as np
import pytest
import torch

from jenga.data.rows import Rows
from jenga.errors import SetupError
from jenga.inference.decode import add_scores, decode_head, free_name
from jenga.labels.classes import ClassHead
from jenga.tasks.anomaly.config import AnomalyConfig
from jenga.tasks.anomaly.task import AnomalyDetectionTask
from jenga.tasks.base import ClassificationConfig
from jenga.tasks.classification import ClassificationTask
from jenga.tasks.qa import QAHead, QAScoringConfig, QAScoringTask
from jenga.types import HeadSpace


def space(kind: str, *labels: str) -> HeadSpace:
    return HeadSpace("task", "head", kind, len(labels), labels)


def answers(space: HeadSpace, predictions: Any, logits: list[torch.Tensor], **options: Any) -> list[dict[str, Any]]:
    rows = options.pop("rows", Rows(ids=["1"] * len(logits), texts=[""] * len(logits)))
    as_words = options.pop("as_words", [False] * len(logits))
    head = ClassHead(name="a", num_labels=2)
    plain = ClassificationConfig(name="task", type="classification", data_path="x", heads=[head])
    return decode_head(
        space, predictions, logits, rows,
        task=options.get("task", ClassificationTask(plain, 2)), as_words=as_words,
        probabilities=options.get("all", False),
    )  # fmt: skip


def test_class_gets_the_softmax_of_its_logit() -> None:
    logits = torch.tensor([0.0, np.log(3.0)])
    assert answers(space("class", "no", "yes"), np.array([1]), [logits]) == [{"label": "yes", "probability": 0.75}]


def test_probability_is_that_of_the_predicted_class_even_if_a_task_predicts_another_than_the_likeliest() -> None:
    logits = torch.tensor([0.0, np.log(3.0)])
    assert answers(space("class", "no", "yes"), np.array([0]), [logits]) == [{"label": "no", "probability": 0.25}]


def test_items_get_a_value_and_a_probability_each() -> None:
    found = answers(space("items", "a", "b"), np.array([[True, False]]), [torch.tensor([0.0, -100.0])])
    assert found == [{"a": {"value": True, "probability": 0.5}, "b": {"value": False, "probability": 0.0}}]


def test_one_number_is_a_value_and_several_are_named() -> None:
    assert answers(space("number", "head"), np.array([[1.5]]), [torch.zeros(1)]) == [{"value": 1.5}]
    several = answers(space("number", "0", "1"), np.array([[1.5, 2.0]]), [torch.zeros(2)])
    assert several == [{"values": {"0": 1.5, "1": 2.0}}]


def test_entity_spans_its_words_and_is_as_likely_as_the_least_likely_of_them() -> None:
    labels = ("O", "B-x", "I-x")
    rows = Rows(ids=["1"], texts=["in New York"], words=[[(0, 2), (3, 6), (7, 11)]])
    logits = torch.tensor([[9.0, 0, 0], [0, np.log(2.0), 0], [0, 0, np.log(6.0)]])
    found = answers(space("tags", *labels), [np.array([0, 1, 2])], [logits], rows=rows)
    entity = {"start": 3, "end": 11, "label": "x", "text": "New York", "probability": 0.5}
    assert found == [{"entities": [entity]}]


def test_tags_by_word_are_legal_where_the_model_begins_with_inside() -> None:
    rows = Rows(ids=["1"], texts=["New York"], words=[[(0, 3), (4, 8)]])
    found = answers(
        space("tags", "O", "B-x", "I-x"), [np.array([2, 2])], [torch.zeros(2, 3)], rows=rows, as_words=[True]
    )
    assert found[0]["tags"] == ["B-x", "I-x"]
    assert [entity["text"] for entity in found[0]["entities"]] == ["New York"]


def test_word_without_a_token_is_outside() -> None:
    rows = Rows(ids=["1"], texts=["New York"], words=[[(0, 3), (4, 8)]])
    logits = torch.tensor([[0.0, 9.0, 0], [torch.nan] * 3])
    found = answers(space("tags", "O", "B-x", "I-x"), [np.array([1, 0])], [logits], rows=rows)
    assert [entity["text"] for entity in found[0]["entities"]] == ["New"]


# scores


def qa_task(*heads: QAHead) -> QAScoringTask:
    config = QAScoringConfig(name="QA", type="qa_scoring", data_path="", heads=list(heads))
    return QAScoringTask(config, 4)


def test_score_of_a_task_weighs_its_heads_by_their_points() -> None:
    task = qa_task(
        QAHead(name="items", num_labels=2, item_weights=[3, 1]),
        QAHead(name="grade", num_labels=3, kind="class"),
    )
    found: list[dict[str, Any]] = [{"items": {}, "grade": {}}]
    add_scores(task, {"items": np.array([[1, 0]]), "grade": np.array([1])}, found)
    # 3 of 4 points and 1 of 2 points make 4 of 6.
    assert found == [{"items": {"score": 0.75}, "grade": {"score": 0.5}, "score": pytest.approx(4 / 6, abs=1e-6)}]


def test_head_without_points_has_no_score() -> None:
    task = qa_task(QAHead(name="a", num_labels=1, item_weights=[0]))
    found: list[dict[str, Any]] = [{"a": {}}]
    add_scores(task, {"a": np.array([[1]])}, found)
    assert found == [{"a": {}}]


def test_score_does_not_hide_an_item_or_a_head_of_that_name() -> None:
    task = qa_task(QAHead(name="score", num_labels=1))
    found: list[dict[str, Any]] = [{"score": {"score": {"value": True}}}]
    add_scores(task, {"score": np.array([[1]])}, found)
    assert found == [{"score": {"score": {"value": True}, "score_": 1.0}, "score_": 1.0}]


def test_tasks_that_are_not_scored_stay_as_they_are() -> None:
    config = qa_task(QAHead(name="a", num_labels=1)).config
    found: list[dict[str, Any]] = [{"a": {}}]
    add_scores(ClassificationTask(config, 4), {"a": np.array([1])}, found)
    assert found == [{"a": {}}]


def test_free_name_goes_on_until_it_is_free() -> None:
    assert free_name("score", {"score", "score_"}) == "score__"


# ------------------------------------------------------------------------------------------------------------- anomaly

FLOWS = HeadSpace("task", "head", "class", 3, ("normal", "dos", "probe"))


def anomaly_task(*, fitted: bool = True, **settings: Any) -> AnomalyDetectionTask:
    """A task whose threshold lies at raw score 0 (supervised), or at an error of 1."""
    head = {"name": "head", "num_labels": 3, "labels": list(FLOWS.labels), "calibration": "none"}
    config = AnomalyConfig.model_validate(
        {"name": "task", "type": "anomaly_detection", "data_path": "x", "heads": [head], **settings}
    )
    task = AnomalyDetectionTask(config, 2)
    if fitted:
        task.calibrate(FLOWS, np.zeros(100), np.zeros(100, np.int64))
    return task


def test_a_supervised_anomaly_has_score_alert_threshold_and_class() -> None:
    logits = [torch.tensor([np.log(3.0), 0.0, -200.0]), torch.tensor([0.0, np.log(2.0), np.log(6.0)])]
    first, second = answers(FLOWS, np.array([0, 2]), logits, task=anomaly_task())
    assert first == {"score": 0.25, "alert": False, "threshold": 0.5, "label": "normal", "probability": 0.75}
    assert second["alert"] is True
    assert second["score"] == pytest.approx(8 / 9, abs=1e-6)
    assert second["label"] == "probe"


def test_all_probabilities_are_given_on_request() -> None:
    [found] = answers(FLOWS, np.array([0]), [torch.zeros(3)], task=anomaly_task(), all=True)
    assert found["probabilities"] == {"normal": 0.333333, "dos": 0.333333, "probe": 0.333333}


def test_an_unsupervised_anomaly_has_no_class() -> None:
    task = anomaly_task(mode="unsupervised", method="deep_svdd")
    found = answers(FLOWS, np.array([0, 1]), [torch.tensor([0.5]), torch.tensor([3.0])], task=task)
    assert found == [
        {"score": 0.5, "alert": False, "threshold": 1.0},
        {"score": 3.0, "alert": True, "threshold": 1.0},
    ]


def test_a_head_whose_threshold_was_never_fitted_gives_no_answer() -> None:
    with pytest.raises(SetupError, match=r"head 'task.head': the run ended before the threshold .*--resume"):
        answers(FLOWS, np.array([0]), [torch.zeros(3)], task=anomaly_task(fitted=False))
