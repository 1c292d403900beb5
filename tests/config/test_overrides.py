"""`--set`: what it sets, and what it says when it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.config.load import load_text
from jenga.config.overrides import apply_overrides, put_value
from jenga.config.schema import ExperimentConfig
from jenga.config.syntax import Place
from jenga.config.yaml12 import Document, KeyPath, read_document
from jenga.errors import ConfigError

TEXT = """\
model: {base_model: m}
tasks:
  - {name: Intent, type: classification, data_path: a, heads: [{name: label}]}
  - {name: QA, type: qa_scoring, data_path: b, heads: [{name: opening, num_labels: 2}, {name: closing}]}
training: {epochs: 3}
data:
"""


def read(*overrides: str) -> Document:
    document = read_document(TEXT, file="cfg.yml")
    apply_overrides(document, overrides)
    return document


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.epochs=5", ("training", "epochs"), 5),
        ("training.learning_rate=2e-5", ("training", "learning_rate"), 2e-5),
        ("training.learning_rate.heads=1e-3", ("training", "learning_rate", "heads"), 1e-3),
        ("tasks[0].name=other", ("tasks", 0, "name"), "other"),
        ("tasks[QA].heads[0].num_labels=5", ("tasks", 1, "heads", 0, "num_labels"), 5),
        ("tasks[QA].heads[closing].num_labels=5", ("tasks", 1, "heads", 1, "num_labels"), 5),
        ("tasks[Intent].heads=[{name: a}]", ("tasks", 0, "heads"), [{"name": "a"}]),
        ("tasks[1].columns.text=body", ("tasks", 1, "columns", "text"), "body"),
        ("data.max_length=64", ("data", "max_length"), 64),
        ("fusion.type=attention", ("fusion", "type"), "attention"),
        ("project_name=no", ("project_name",), "no"),
        ("project_name=012", ("project_name",), 12),
        ("project_name='012'", ("project_name",), "012"),
        ("project_name=", ("project_name",), None),
        ("tracking.uri=http://host:5000", ("tracking", "uri"), "http://host:5000"),
        ("tracking.tags={a: b=c}", ("tracking", "tags"), {"a": "b=c"}),
        ("training={epochs: 1}", ("training",), {"epochs": 1}),
    ],
)
def test_a_value_is_set_where_its_key_says(override: str, path: KeyPath, value: Any) -> None:
    document = read(override)
    assert document.problems == []
    assert document.value_at(path) == value
    assert type(document.value_at(path)) is type(value)
    assert document.value_place(path) == Place(f"--set {override}")


def test_what_is_not_set_stays() -> None:
    before, after = read().data, read("training.max_steps=7").data
    assert after["training"] == {"epochs": 3, "max_steps": 7}
    assert {**after, "training": before["training"]} == before


def test_the_last_of_several_wins() -> None:
    assert read("training.epochs=5", "training={}", "training.epochs=6").data["training"] == {"epochs": 6}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("training.epochs", "not key=value; write it as --set training.epochs=5"),
        ("=5", "not key=value"),
        ("training..epochs=5", "not key=value"),
        ("tasks[].name=a", "not key=value"),
        ("tasks[9].name=a", "tasks: no item [9]. Known: [0] Intent, [1] QA"),
        ("tasks[-1].name=a", "tasks: no item [-1]. Known: [0] Intent, [1] QA"),
        ("tasks[Intnt].name=a", "tasks: no item [Intnt]; did you mean 'Intent'? Known: [0] Intent, [1] QA"),
        ("tasks[QA].heads[ending].name=a", "tasks[1].heads: no item [ending]"),
        ("tasks.name=a", "tasks: is a list and has no key 'name'; name an item, as in [0]"),
        ("model[0]=a", "model: is a mapping, so there is no item [0]"),
        ("fusion[0]=a", "fusion: is not set, so there is no item [0]"),
        ("model.base_model.name=a", "model.base_model: is text and has no key 'name'; set the whole of it"),
        ("training.epochs.x=a", "training.epochs: is a number and has no key 'x'"),
        ("data.max_length=[1", "data.max_length: this '[' is not closed, or a ',' is missing"),
        ("project_name=!!python/name:os.system", "project_name: tag '!!python/name:os.system' is not read"),
        ("tracking.tags={a: 1, a: 2}", "tracking.tags.a: given twice"),
    ],
)
def test_what_cannot_be_set_is_a_problem_of_the_option(override: str, problem: str) -> None:
    (found,) = read(override).problems
    assert str(found).startswith(f"--set {override}: {problem}")
    assert found.line == 0


def test_problems_of_several_options_come_together() -> None:
    assert len(read("tasks[9].name=a", "training.epochs=5", "nothing").problems) == 2


def test_a_value_that_does_not_fit_is_reported_at_its_option(schema: type[ExperimentConfig]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(
            TEXT.replace("data:\n", ""),
            file="cfg.yml",
            schema=schema,
            overrides=["data.max_length=x", "trainin.epochs=3", "tasks[0].heads=[{name: a, num_labels: 0}]"],
        )
    assert [str(each).split("; ")[0] for each in caught.value.problems] == [
        "--set data.max_length=x: data.max_length: needs a whole number, got text 'x'",
        "--set tasks[0].heads=[{name: a, num_labels: 0}]: tasks[0].heads[0].num_labels: must be at least 1, got 0",
        "--set trainin.epochs=3: trainin: unknown key",
    ]


def test_an_option_repairs_the_file(schema: type[ExperimentConfig]) -> None:
    text = TEXT.replace("data:\n", "").replace("epochs: 3", "epochs: three")
    config = load_text(text, file="cfg.yml", schema=schema, overrides=["training.epochs=4"])
    assert config.training.epochs == 4


def test_a_value_is_put_where_a_key_leads_with_the_place_of_its_own() -> None:
    document = read()
    path = put_value(document, "tasks[QA].weight", [2], Place("other.yml", 3, 4))
    assert path == ("tasks", 1, "weight")
    assert document.value_at(path) == [2]
    assert document.value_place(path) == Place("other.yml", 3, 4)


@pytest.mark.parametrize("key", ["training.epochs=5", "training..epochs", "tasks[", ""])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"no key; write it as training\.batch_size"):
        put_value(read(), key, 1, Place("cfg.yml", 1, 1))
