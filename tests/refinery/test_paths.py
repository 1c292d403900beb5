"""Paths of fields: the grammar is that of the kernels' reference, and values are found as the native reader does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jenga.kernels.refinery import reference_paths
from jenga.refinery.paths import EVERY, is_set, parts_of, path_of_key, put, value_at, values_in

keys = st.text("ab.\\[]01*", min_size=1, max_size=12)


@given(keys)
@example("a[0]\\[1]")
@example("a\\[0][1]")
def test_the_grammar_is_that_of_the_reference(path: str) -> None:
    wanted = [part.decode() if isinstance(part, bytes) else part for part in reference_paths.parts_of(path)]
    assert list(parts_of(path)) == wanted


@given(keys)
@example("[0]")
@example("a[0][*]\\[1]")
def test_the_path_of_a_key_leads_to_that_very_key(key: str) -> None:
    assert parts_of(path_of_key(key)) == (key,)
    assert not is_set(path_of_key(key))


@pytest.mark.parametrize(
    ("path", "row", "values"),
    [
        ("a[0]", {"a": ["x", "y"]}, ["x"]),
        ("a[1]", {"a": "x"}, []),
        ("a[*].b", {"a": [{"b": 1}, {}, {"b": 2}]}, [1, 2]),
        ("a[*].b", {"a": {"b": 1}}, [1]),
        ("a[*][*]", {"a": [["x"], "y"]}, ["x", "y"]),
        ("a.b[0].c", {"a.b": [{"c": 1}]}, [1]),
        ("a.b[0].c.d", {"a": {"b": [{"c": {"d": 1}}]}}, [1]),
        ("a[*]", {"b": 1}, []),
    ],
)
def test_values_are_found_by_keys_and_elements(path: str, row: dict[str, Any], values: list[Any]) -> None:
    assert values_in(row, parts_of(path)) == values


def test_a_value_that_was_put_somewhere_is_found_there_beside_others() -> None:
    row: dict[str, Any] = {}
    paths = ["a", "b.c", "q[*].n", "q[*].t", "q[2].n", "l[1][0]", "x\\[0]"]
    for number, path in enumerate(paths):
        put(row, path, number)
    assert row["q"] == [{"n": 2, "t": 3}, None, {"n": 4}]
    assert [values_in(row, parts_of(path)) for path in paths] == [[0], [1], [2, 4], [3], [4], [5], [6]]
    assert EVERY in parts_of(paths[2])


@pytest.mark.parametrize(
    ("row", "path", "value"),
    [
        ({"a": {"b": [1, 2]}}, "a.b[1]", 2),
        ({"a.b[1]": 3, "a": {"b": [1, 2]}}, "a.b[1]", 3),
        ({"a": {"b": [1, 2]}}, "a.b[2]", None),
        ({"a": {"b": None}}, "a.b", None),
        ({}, "a", None),
    ],
)
def test_the_value_at_a_path_is_that_of_the_whole_path_first(row: dict[str, Any], path: str, value: Any) -> None:
    assert value_at(row, path) == value
