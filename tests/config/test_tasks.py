"""The blocks of tasks and heads: what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jenga.config.schema import ExperimentConfig
from jenga.labels.classes import ClassHead
from jenga.labels.numbers import NumberHead
from jenga.tasks.anomaly.config import AnomalyConfig, AnomalyHead
from jenga.tasks.qa import QAHead

TASK = {"name": "t", "data_path": "x.jsonl"}


def experiment(schema: type[ExperimentConfig], task: dict[str, Any]) -> Any:
    return schema.model_validate({"model": {"base_model": "x"}, "tasks": [{**TASK, **task}]})


def errors(schema: type[ExperimentConfig], task: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        experiment(schema, task)
    return str(caught.value)


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
    shown = (ClassHead, QAHead, NumberHead, AnomalyHead, AnomalyConfig)
    bare = [
        f"{block.__name__}.{name}"
        for block in shown
        for name, info in block.model_fields.items()
        if not info.description and name not in ("type", "heads")
    ]
    assert bare == []


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_a_blank_label_is_refused(name: str, schema: type[ExperimentConfig]) -> None:
    task = {"type": "classification", "heads": [{"name": "a", "labels": ["x", name]}]}
    assert "a name is blank; take it out" in errors(schema, task)
