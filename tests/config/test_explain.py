"""Pydantic's errors become one finding a mistake, at the path a reader knows."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jenga.config.explain import findings, hidden_findings, validate
from jenga.config.schema import ExperimentConfig, Strict
from jenga.config.yaml12 import Document, read_document

Schema = type[ExperimentConfig]


class Mode(Enum):
    FAST = "fast"


class PartConfig(Strict):
    """Parameters such as a part of someone else's may have."""

    folder: Path = Path()
    mode: Mode = Mode.FAST
    pair: tuple[int, int] = (1, 2)
    size: int | float | None = None
    where: str | list[str] | dict[str, int] = ""
    flags: bool | list[bool] = False


def of_part(text: str) -> list[tuple[str, str]]:
    document = read_document(text, file="f.yml")
    return [(each.problem.key, each.problem.message) for each in findings(PartConfig, document)]


def test_valid_data_has_no_findings() -> None:
    assert of_part("{folder: a/b, mode: fast, pair: [3, 4], size: 1.5, where: {a: 1}, flags: [true]}") == []


def test_values_are_not_converted() -> None:
    for data in ({"size": "3"}, {"flags": "yes"}, {"where": 3}, {"pair": [1.0, "2"]}):
        with pytest.raises(ValidationError):
            validate(PartConfig, data)
    made = validate(PartConfig, {"folder": "a", "mode": "fast", "pair": [3, 4]})
    assert (made.folder, made.mode, made.pair) == (Path("a"), Mode.FAST, (3, 4))


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("size: x", "size", "needs a number, got text 'x'"),
        ("size: []", "size", "needs a number, got a list"),
        ("where: 3", "where", "needs text, a list or a mapping (key: value), got 3; put it in quotes: '3'"),
        ("where: [a, 3]", "where[1]", "needs text, got 3; put it in quotes: '3'"),
        ("where: {a: b}", "where.a", "needs a whole number, got text 'b'"),
        ("where:", "where", "needs text, a list or a mapping (key: value), got nothing"),
        ("flags: 1", "flags", "needs true or false or a list, got 1"),
        ("flags: [1]", "flags[0]", "needs true or false, got 1"),
        ("mode: fasst", "mode", "unknown 'fasst'; did you mean 'fast'? Known: fast"),
        ("pair: [1, x]", "pair[1]", "needs a whole number, got text 'x'"),
    ],
)
def test_a_union_gives_one_finding_for_the_kind_that_was_given(text: str, key: str, message: str) -> None:
    ((found_key, found_message),) = of_part(text)
    assert found_key == key
    assert found_message.startswith(message)


HEAD = "model: {base_model: m}\ntasks:\n"


def both(schema: Schema, text: str) -> tuple[list[str], list[str]]:
    document = read_document(HEAD + text, file="f.yml")
    known = findings(schema, document)
    return [each.problem.key for each in known], [each.problem.key for each in hidden_findings(known, schema, document)]


def test_names_of_types_are_left_out_of_keys_even_where_the_document_holds_them(schema: Schema) -> None:
    """The task has an unknown key 'ner', which is also the name that pydantic puts into the location."""
    keys, _ = both(schema, "  - {name: a, type: ner, data_path: 3, ner: {data_path: 4}}\n")
    assert sorted(keys) == ["tasks[0].data_path", "tasks[0].ner"]


def test_an_alias_is_a_type(schema: Schema) -> None:
    keys, _ = both(schema, "  - {name: a, type: single_label_classification, data_path: x, heads: [{nam: h}]}\n")
    assert keys == ["tasks[0].heads[0].nam"]


def test_inside_a_misspelt_type_everything_is_judged(schema: Schema) -> None:
    task = "{name: a, type: clasification, data_path: 3, heads: [{name: h, num_labels: 0}]}"
    known, hidden = both(schema, f"  - {task}\n")
    assert known == ["tasks[0].type"]
    assert sorted(hidden) == ["tasks[0].data_path", "tasks[0].heads[0].num_labels"]


@pytest.mark.parametrize("type_", ["", "type: unheard, ", "type: [ner], ", "type: null, "])
def test_inside_an_unknown_type_only_what_all_types_share_is_judged(schema: Schema, type_: str) -> None:
    known, hidden = both(schema, f"  - {{{type_}name: a.b, heads: [{{nam: h}}], own_key: 3}}\n")
    assert known == ["tasks[0].type"]
    assert sorted(hidden) == ["tasks[0].data_path", "tasks[0].name"]


def test_inside_a_misspelt_backbone_everything_is_judged(schema: Schema) -> None:
    text = "model: {backbone_type: txt, dropout: 2}\ntasks: [{name: a, type: ner, data_path: x}]\n"
    document = read_document(text, file="f.yml")
    known = findings(schema, document)
    hidden = hidden_findings(known, schema, document)
    assert [each.problem.key for each in known] == ["model.backbone_type"]
    assert sorted(each.problem.key for each in hidden) == ["model.base_model", "model.dropout"]
    assert document.data["model"]["backbone_type"] == "txt"


def test_a_document_that_is_no_mapping_is_one_finding(schema: Schema) -> None:
    document = Document("f.yml", ["a"])
    (found,) = findings(schema, document)
    assert found.problem.message.startswith("needs a mapping of project_name")


def test_a_required_key_that_is_only_misspelt_is_told_once(schema: Schema) -> None:
    keys, _ = both(schema, "  - {nam: a, type: ner, data_pth: x}\n")
    assert keys == ["tasks[0].nam", "tasks[0].data_pth"]


def test_a_validators_words_are_placed_at_the_key_they_begin_with(schema: Schema) -> None:
    task = "{name: a, type: classification, data_path: x, heads: [{name: h,\n      num_labels: 3, labels: [x]}]}"
    text = f"{HEAD}  - {task}\n"
    (found,) = findings(schema, read_document(text, file="f.yml"))
    assert str(found.problem) == "f.yml:4:7: tasks[0].heads[0]: num_labels is 3, but labels has 1 names"


def test_a_discriminated_block_of_the_wrong_kind_needs_a_mapping(schema: Schema) -> None:
    values: dict[str, Any] = {"  - 3\n": "got 3", "  - [x]\n": "got a list", "  -\n": "got nothing"}
    for text, words in values.items():
        (found,) = findings(schema, read_document(HEAD + text, file="f.yml"))
        assert found.problem.key == "tasks[0]"
        assert "needs a mapping" in found.problem.message
        assert words in found.problem.message
