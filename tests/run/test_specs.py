"""Which tasks share their rows, and where these and their labels are looked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jenga.run.experiment import load_config
from jenga.run.specs import source_specs

ALL = ("mood", "flags", "names", "price")
FLOWS = {"backbone_type": "sequential", "base_model": "mlp", "hidden_sizes": [8]}


def specs(settings: dict[str, Any]) -> list[tuple[str, ...]]:
    return [tuple(spec.name.split("+")) for spec in source_specs(load_config(settings))]


def test_tasks_with_the_same_rows_form_one_source(settings: Callable[..., dict[str, Any]]) -> None:
    assert specs(settings(*ALL)) == [ALL]


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 16},
        {"columns": {"text": "other"}},
        {"columns": {"text_pair": "other"}},
        {"columns": {"id": "text"}},
    ],
)
def test_what_is_tokenised_otherwise_is_a_source_of_its_own(
    settings: Callable[..., Any], change: dict[str, Any]
) -> None:
    content = settings("mood", "flags", "price")
    content["tasks"][1].update(change)
    assert specs(content) == [("mood", "price"), ("flags",)]


def test_writing_the_default_length_out_splits_no_source(settings: Callable[..., dict[str, Any]]) -> None:
    content = settings("mood", "flags")
    content["tasks"][1]["max_length"] = content["data"]["max_length"]
    content["tasks"][0]["data_path"] = [content["tasks"][0]["data_path"]]
    assert specs(content) == [("mood", "flags")]


# ------------------------------------------------------------------------------------------------------------ backbones


def several(settings: Callable[..., dict[str, Any]], **backbone_of: str) -> dict[str, Any]:
    """Return an experiment whose tasks read the backbones given by their names."""
    content = settings(*backbone_of)
    words = {"backbone_type": "text", **content["model"]}
    blocks = {"words": words, "more": words, "flows": FLOWS}
    content["model"] = {"backbones": {name: blocks[name] for name in dict.fromkeys(backbone_of.values())}}
    for task in content["tasks"]:
        task["backbone"] = backbone_of[task["name"]]
    return content


def test_rows_that_two_backbones_read_are_two_sources(settings: Callable[..., dict[str, Any]]) -> None:
    content = several(settings, mood="words", flags="more", price="words")
    found = source_specs(load_config(content))
    assert [(spec.name, spec.encoder) for spec in found] == [("mood+price", "words"), ("flags", "more")]


def test_each_source_is_read_as_its_own_backbone_reads(settings: Callable[..., dict[str, Any]]) -> None:
    words, flows = source_specs(load_config(several(settings, mood="words", price="flows")))
    assert (words.content.form, flows.content.form) == ("text", "event")
    assert flows.content.wanted == ()


def test_what_one_backbone_reads_is_read_as_if_it_were_alone(settings: Callable[..., dict[str, Any]]) -> None:
    (alone,) = source_specs(load_config(settings("names")))
    words, _ = source_specs(load_config(several(settings, names="words", price="flows")))
    assert alone.encoder == "shared"
    assert (words.content, words.heads, words.train) == (alone.content, alone.heads, alone.train)


# --------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("change", "candidates"),
    [
        ({}, ("labels.mood", "label", "labels", "mood")),
        ({"columns": {"labels": "marks"}}, ("marks.mood", "label", "marks", "mood")),
        ({"columns": {"label": "topic"}}, ("topic",)),
        ({"heads": [{"name": "mood", "column": "topic"}]}, ("topic",)),
        ({"heads": [{"name": "mood"}, {"name": "topic"}]}, ("labels.mood", "mood")),
    ],
)
def test_labels_are_looked_for_in_the_likeliest_place_first(
    settings: Callable[..., dict[str, Any]], change: dict[str, Any], candidates: tuple[str, ...]
) -> None:
    content = settings("mood")
    content["tasks"][0] |= {"heads": [{"name": "mood"}], **change}
    (spec,) = source_specs(load_config(content))
    assert spec.heads[0].candidates == candidates
    assert spec.heads[0].written == ("columns" in change or "column" in content["tasks"][0]["heads"][0])
