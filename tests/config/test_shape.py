"""What a schema accepts, read from its annotations."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from jenga.config.schema import ExperimentConfig
from jenga.config.shape import (
    Branch,
    branches,
    entry_branches,
    field_branches,
    homes,
    item_branches,
    kind_of_annotation,
    kind_of_value,
    literals,
    tag_key,
)
from jenga.config.tasks import SplitPaths, TaskConfig
from jenga.config.training import LearningRates, TrainingConfig


class Colour(Enum):
    RED = "red"


class Nested(BaseModel):
    """A model that holds itself."""

    again: Nested | None = None
    depth: int = 0


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, "text"),
        (Literal["a", "b"], "text"),
        (Literal[1], "number"),
        (Colour, "text"),
        (int, "number"),
        (float, "number"),
        (bool, "flag"),
        (list[int], "list"),
        (tuple[int, ...], "list"),
        (dict[str, int], "mapping"),
        (LearningRates, "mapping"),
        (Path, "any"),
        (Any, "any"),
    ],
)
def test_the_kind_of_an_annotation(annotation: Any, kind: str) -> None:
    assert kind_of_annotation(annotation) == kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "nothing"), (True, "flag"), (3, "number"), (0.5, "number"), ("3", "text"), ([], "list"), ({}, "mapping")],
)
def test_the_kind_of_a_value(value: Any, kind: str) -> None:
    assert kind_of_value(value) == kind


def test_unions_are_opened_and_null_left_out() -> None:
    found = branches(Annotated[int, Field(ge=1)] | Annotated[str | None, Field()] | list[str])
    assert [each.annotation for each in found] == [int, str, list[str]]


def test_the_alternatives_of_a_field() -> None:
    assert [each.kind for each in field_branches(TrainingConfig, "learning_rate")] == ["number", "mapping"]
    assert [each.model for each in field_branches(TaskConfig, "data_path")] == [None, None, SplitPaths]
    assert field_branches(TaskConfig, "absent") == []


def test_items_and_entries_are_those_of_lists_and_mappings() -> None:
    assert item_branches([Branch(list[int | str]), Branch(str)]) == [Branch(int), Branch(str)]
    assert item_branches([Branch(tuple[int, ...])]) == [Branch(int)]
    assert entry_branches([Branch(dict[str, float]), Branch(str)], "any") == [Branch(float)]
    assert [each.annotation for each in entry_branches([Branch(LearningRates)], "heads")] == [float]


def test_literals_are_the_allowed_values() -> None:
    assert literals(Branch(Literal["a", "b"])) == ["a", "b"]
    assert literals(Branch(Colour)) == ["red"]
    assert literals(Branch(str)) is None


def test_tagged_models_are_found_with_the_key_that_tells_them_apart(schema: type[ExperimentConfig]) -> None:
    tasks = item_branches(field_branches(schema, "tasks"))
    assert tag_key(tasks) == "type"
    assert {each.tag for each in tasks} >= {"classification", "single_label_classification", "ner"}
    model = field_branches(schema, "model")
    assert [each.tag for each in model] == ["sequential", "text", "several backbones"]
    assert tag_key(model) == "backbone_type"
    assert tag_key(field_branches(TrainingConfig, "learning_rate")) is None


def test_the_homes_of_a_key(schema: type[ExperimentConfig]) -> None:
    assert homes(schema, "learning_rate") == ["training"]
    assert homes(schema, "early_stopping") == [""]
    assert homes(schema, "base_model") == ["model"]
    assert homes(schema, "backbones") == ["model"], "of several, which have no type"
    assert homes(schema, "num_labels") == ["tasks[].heads[]"]
    assert homes(schema, "item_weights") == ["tasks[].heads[] of type 'qa_scoring'"]
    assert homes(schema, "unheard_of") == []


def test_a_model_inside_itself_ends_the_search() -> None:
    found = homes(Nested, "depth")
    assert found[:2] == ["", "again"]
    assert len(found) < 20
