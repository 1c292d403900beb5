"""YAML 1.2's reading of values, and the places of keys and values."""

from __future__ import annotations

import math
from typing import Any

import pytest

from jenga.config.syntax import Place
from jenga.config.yaml12 import Document, dotted, read_document, read_value
from jenga.errors import ConfigError


def read(text: str) -> Document:
    return read_document(text, file="f.yml")


READINGS: list[tuple[str, Any]] = [
    ("2e-5", 2e-5),
    ("2E5", 2e5),
    ("1.", 1.0),
    (".5", 0.5),
    ("-.5e+3", -500.0),
    ("1e400", math.inf),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("012", 12),
    ("+12", 12),
    ("-0", 0),
    ("0o14", 12),
    ("0x1F", 31),
    ("true", True),
    ("False", False),
    ("TRUE", True),
    ("~", None),
    ("null", None),
    ("Null", None),
    ("", None),
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("Off", "Off"),
    ("y", "y"),
    ("tRUE", "tRUE"),
    ("1:30", "1:30"),
    ("1_000", "1_000"),
    ("0b11", "0b11"),
    ("0O14", "0O14"),
    ("2026-01-31", "2026-01-31"),
    ("1e", "1e"),
    ("inf", "inf"),
    ("=", "="),
    ("<<", "<<"),
    ("'012'", "012"),
    ('"true"', "true"),
    ("!!str 012", "012"),
    ("!!float 3", 3.0),
    ("!!int '3'", 3),
    ("! 3", 3),
]


@pytest.mark.parametrize(("text", "value"), READINGS)
def test_a_value_is_read_as_yaml_1_2_reads_it(text: str, value: Any) -> None:
    document = read(f"key: {text}\n")
    assert document.problems == []
    assert document.data["key"] == value
    assert type(document.data["key"]) is type(value)


def test_not_a_number_is_read() -> None:
    assert math.isnan(read("key: .nan").data["key"])


@pytest.mark.parametrize("text", ["no", "on", "2026-01-31", "1:30"])
def test_a_key_that_yaml_1_1_misreads_is_text(text: str) -> None:
    assert list(read(f"{text}: 1").data) == [text]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("!!int x", "'x' cannot be read as int"),
        ("!!bool yes", "'yes' cannot be read as bool"),
        ("9" * 500, "cannot be read as int"),
        ("!!binary aGk=", "tag '!!binary' is not read"),
        ("!!set {a, b}", "tag '!!set' is not read"),
        ("!!python/name:os.system ''", "tag '!!python/name:os.system' is not read"),
        ('"\\ud800"', "half of a surrogate pair"),
    ],
)
def test_a_value_that_cannot_be_read_is_a_problem_at_its_place(text: str, words: str) -> None:
    (problem,) = read(f"a: 1\nkey: {text}\n").problems
    assert (problem.line, problem.column, problem.key) == (2, 6, "key")
    assert words in problem.message


def test_several_problems_of_reading_come_together() -> None:
    problems = read("a: 1\na: 2\nb: !x 3\n4: c\n? [d]\n: e\n").problems
    assert [(each.line, each.column) for each in problems] == [(2, 1), (3, 4), (4, 1), (5, 3)]


def test_the_first_of_two_equal_keys_is_kept_and_both_places_told() -> None:
    document = read("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert document.data == {"a": {"b": 1, "c": 2}}
    (problem,) = document.problems
    assert str(problem) == "f.yml:4:3: a.b: given twice; first at line 2, column 3"


# ----------------------------------------------------------------------------------------------- aliases and merges


def test_aliases_are_copies() -> None:
    data = read("a: &x {p: [1]}\nb: *x\n").data
    assert data["a"] == data["b"] == {"p": [1]}
    assert data["a"] is not data["b"]
    assert data["a"]["p"] is not data["b"]["p"]


@pytest.mark.parametrize(
    ("text", "merged"),
    [
        ("{<<: *x, q: 3}", {"p": 1, "q": 3}),
        ("{q: 3, <<: *x}", {"p": 1, "q": 3}),
        ("{<<: [{p: 9}, *x]}", {"p": 9, "q": 2}),
        ("{<<: {<<: *x, q: 4}}", {"p": 1, "q": 4}),
        ("{'<<': *x}", {"<<": {"p": 1, "q": 2}}),
    ],
)
def test_merge_keys_fill_in_what_the_mapping_lacks(text: str, merged: dict[str, Any]) -> None:
    document = read(f"a: &x {{p: 1, q: 2}}\nb: {text}\n")
    assert document.problems == []
    assert document.data["b"] == merged


def test_a_merged_key_keeps_the_place_where_it_was_written() -> None:
    document = read("a: &x\n  p: 1\nb:\n  <<: *x\n")
    assert document.key_place(("b", "p")) == Place("f.yml", 2, 3)


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: &x {b: {c: *x}}", "a: &x\n  <<: *x\n"])
def test_an_anchor_inside_itself_is_a_problem(text: str) -> None:
    (problem,) = read(text).problems
    assert problem.message == "this anchor contains an alias to itself"


def test_merging_what_is_no_mapping_is_a_problem() -> None:
    (problem,) = read("a:\n  <<: [3]\n").problems
    assert str(problem) == "f.yml:2:8: a.<<: merges mappings only, not a single value"


def test_merges_count_towards_the_limit() -> None:
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{n + 1}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 10)}]}}" for n in range(9)]
    with pytest.raises(ConfigError, match="more than 100000 values"):
        read("\n".join(lines))


# -------------------------------------------------------------------------------------------------------------- places

PLACED = """\
model:
  base_model: m
tasks:
  - name: a
    heads: [{name: h}]
  -
    name: b
training:
"""


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("model",), (1, 1), (1, 1)),
        (("model", "base_model"), (2, 3), (2, 15)),
        (("tasks",), (3, 1), (3, 1)),
        (("tasks", 0), (4, 5), (4, 5)),
        (("tasks", 0, "heads"), (5, 5), (5, 12)),
        (("tasks", 0, "heads", 0, "name"), (5, 14), (5, 20)),
        (("tasks", 1), (7, 5), (7, 5)),
        (("training",), (8, 1), (8, 10)),
        (("training", "epochs"), (8, 1), (8, 1)),
        (("tasks", 7, "name"), (3, 1), (3, 1)),
        (("absent",), (1, 1), (1, 1)),
    ],
)
def test_places_of_keys_and_values(path: tuple[str | int, ...], key: tuple[int, int], value: tuple[int, int]) -> None:
    document = read(PLACED)
    assert document.key_place(path) == Place("f.yml", *key)
    assert document.value_place(path) == Place("f.yml", *value)


def test_the_value_at_a_path_that_leads_nowhere_is_none() -> None:
    document = read(PLACED)
    assert document.value_at(("tasks", 0, "heads", 0, "name")) == "h"
    for path in (("tasks", 5), ("tasks", "name"), ("model", "base_model", "x"), ("absent", "x")):
        assert document.value_at(path) is None


def test_forgetting_a_path_forgets_what_is_beneath_and_nothing_else() -> None:
    document = read(PLACED)
    document.forget(("tasks", 0))
    assert ("tasks", 0, "heads", 0, "name") not in document.keys
    assert document.key_place(("tasks", 0, "name")) == Place("f.yml", 3, 1)
    assert document.key_place(("tasks", 1, "name")) == Place("f.yml", 7, 5)


def test_what_was_written_for_a_number_is_kept() -> None:
    assert read("a: 012\nb: '012'\nc: 1e3\n").texts == {("a",): "012", ("c",): "1e3"}


def test_a_single_value_stands_at_the_path_it_is_read_for() -> None:
    document = read_value("{name: a, size: 0x10}", file="--set x", path=("tasks", 0))
    assert document.data == {"name": "a", "size": 16}
    assert ("tasks", 0, "size") in document.keys
    assert document.texts == {("tasks", 0, "size"): "0x10"}
    assert read_value("", file="--set x", path=()).data is None


def test_dotted_paths_are_written_as_people_write_them() -> None:
    assert dotted(("tasks", 1, "heads", 0, "num_labels")) == "tasks[1].heads[0].num_labels"
    assert dotted(()) == ""
