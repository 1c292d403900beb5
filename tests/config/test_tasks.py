"""The blocks of tasks and heads: what contradicts itself, and what an anomaly task may combine."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jenga.config import tasks as blocks
from jenga.config.schema import ExperimentConfig
from jenga.config.tasks import AnomalyConfig

TASK = {"name": "t", "data_path": "x.jsonl"}


def experiment(schema: type[ExperimentConfig], task: dict[str, Any]) -> Any:
    return schema.model_validate({"model": {"base_model": "x"}, "tasks": [{**TASK, **task}]})


def errors(schema: type[ExperimentConfig], task: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        experiment(schema, task)
    return str(caught.value)


def anomaly(**settings: Any) -> AnomalyConfig:
    head = {"name": "threat", **settings.pop("head", {})}
    return AnomalyConfig.model_validate({**TASK, "type": "anomaly_detection", "heads": [head], **settings})


@pytest.mark.parametrize(
    ("kind", "key"),
    [("classification", "ner_tags"), ("regression", "entities"), ("ner", "label"), ("ner", "labels")],
)
def test_a_task_type_has_only_the_columns_that_it_reads(kind: str, key: str, schema: type[ExperimentConfig]) -> None:
    assert "Extra inputs are not permitted" in errors(schema, {"type": kind, "columns": {key: "x"}})


@pytest.mark.parametrize("path", [[], {"train": []}, {"train": "x", "valid": []}])
def test_a_list_of_no_files_is_an_error(path: Any, schema: type[ExperimentConfig]) -> None:
    assert "at least 1 item" in errors(schema, {"type": "ner", "data_path": path})


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"name": "a", "labels": ["x", "x"]}, "a name is given twice"),
        ({"name": "a", "labels": ["x", "y"], "num_labels": 3}, "num_labels is 3, but labels has 2 names"),
        ({"name": "a.b"}, "should match pattern"),
        ({"name": "a", "num_labels": 100_001}, "less than or equal to 100000"),
    ],
)
def test_a_head_that_contradicts_itself_is_an_error(
    head: dict[str, Any], words: str, schema: type[ExperimentConfig]
) -> None:
    assert words in errors(schema, {"type": "classification", "heads": [head]})


@pytest.mark.parametrize("num_labels", [2, 5])
def test_a_tag_heads_num_labels_may_count_types_or_tags(num_labels: int, schema: type[ExperimentConfig]) -> None:
    head = {"name": "a", "labels": ["place", "person"], "num_labels": num_labels}
    assert experiment(schema, {"type": "ner", "heads": [head]}).tasks[0].heads[0].num_labels == num_labels


@pytest.mark.parametrize(
    ("key", "value"),
    [("pos_weight", [1.0, 2.0]), ("label_separator", "|"), ("true_values", ["x"]), ("false_values", ["x"])],
)
def test_a_grade_has_nothing_of_yes_and_no(key: str, value: Any, schema: type[ExperimentConfig]) -> None:
    head = {"name": "a", "kind": "class", key: value}
    assert f"{key}: a grade has no yes" in errors(schema, {"type": "qa_scoring", "heads": [head]})


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"true_values": ["x"], "false_values": ["X "]}, "false_values: 'X ' is among true_values too"),
        ({"false_values": ["-"], "missing_values": ["-"]}, "missing_values: '-' is among false_values too"),
        ({"true_values": []}, "at least 1 item"),
        ({"label_separator": ""}, "at least 1 character"),
    ],
)
def test_a_word_of_an_item_means_one_thing(head: dict[str, Any], words: str, schema: type[ExperimentConfig]) -> None:
    assert words in errors(schema, {"type": "multi_label_classification", "heads": [{"name": "a", **head}]})


def test_blanks_around_a_label_are_no_part_of_it(schema: type[ExperimentConfig]) -> None:
    heads = (
        experiment(schema, {"type": "classification", "heads": [{"name": "a", "labels": ["x ", " y"]}]}).tasks[0].heads
    )
    assert heads[0].labels == ["x", "y"]
    assert "a name is given twice" in errors(
        schema, {"type": "classification", "heads": [{"name": "a", "labels": ["x", "x "]}]}
    )


def test_every_field_of_a_task_that_users_see_is_described() -> None:
    shown = (blocks.ClassHead, blocks.QAHead, blocks.NumberHead, blocks.AnomalyHead, blocks.AnomalyConfig)
    bare = [
        f"{block.__name__}.{name}"
        for block in shown
        for name, info in block.model_fields.items()
        if not info.description and name not in ("type", "heads")
    ]
    assert bare == []


# ------------------------------------------------------------------------------------------------------------- anomaly


UNSUPERVISED: dict[str, Any] = {"mode": "unsupervised"}
SVDD: dict[str, Any] = {**UNSUPERVISED, "method": "deep_svdd"}


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"loss": "ce"}, {"loss": "focal", "gamma": 0.5}, {"head": {"class_weight": "balanced"}}, UNSUPERVISED,
        {**UNSUPERVISED, "bottleneck": 2, "decoder": []}, {**UNSUPERVISED, "loss": "huber"}, {**SVDD, "projection": 4},
        {**UNSUPERVISED, "method": "mahalanobis", "loss": "mse", "decoder": [8]},
        {"head": {"labels": ["ok", "bad"], "normal": "ok"}},
    ],
)  # fmt: skip
def test_settings_that_belong_together_are_accepted(settings: dict[str, Any]) -> None:
    assert anomaly(**settings).heads[0].name == "threat"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "deep_svdd"}, "method: a supervised task has none; remove it"),
        ({"bottleneck": 3}, "bottleneck: a supervised task has none"),
        ({"decoder": [3]}, "decoder: a supervised task has none"),
        ({"projection": 3}, "projection: a supervised task has none"),
        ({"loss": "mse"}, "loss: a supervised task has no 'mse'; allowed: ce, focal"),
        ({"gamma": 1.0}, "gamma: only the focal loss has it; set loss: focal, or remove gamma"),
        ({"loss": "focal", "head": {"label_smoothing": 0.1}}, "label_smoothing: the focal loss has none"),
        ({**UNSUPERVISED, "loss": "ce"}, "loss: autoencoder has no 'ce'; allowed: mse, huber"),
        ({**UNSUPERVISED, "projection": 3}, "projection: autoencoder has none"),
        ({**UNSUPERVISED, "gamma": 2.0}, "gamma: only the focal loss has it"),
        ({**UNSUPERVISED, "head": {"class_weight": "balanced"}}, "an unsupervised task learns no classes"),
        ({**UNSUPERVISED, "head": {"label_smoothing": 0.1}}, "an unsupervised task learns no classes"),
        ({**UNSUPERVISED, "head": {"calibration": "temperature"}}, "use platt or isotonic"),
        ({**UNSUPERVISED, "heads": [{"name": "a"}, {"name": "b"}]}, "heads: an unsupervised task has one"),
        ({**SVDD, "bottleneck": 3}, "bottleneck: deep_svdd has none"),
        ({**SVDD, "loss": "mse"}, "loss: deep_svdd has none"),
        ({"head": {"labels": ["ok", "bad"], "normal": "good"}}, "normal: 'good' is not among labels: ok, bad"),
        ({"head": {"target_fpr": 0.0}}, "greater than 0"),
        ({"head": {"target_fpr": 1.0}}, "less than 1"),
    ],
)
def test_settings_that_contradict_each_other_are_an_error(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        anomaly(**settings)
    assert words in str(caught.value)


def test_all_contradictions_of_a_task_are_told_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        anomaly(method="autoencoder", loss="huber", gamma=1.0)
    assert all(f"{key}: " in str(caught.value) for key in ("method", "loss", "gamma"))
