"""Sample rows as columns."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from jenga.refinery.sample import PATH_LIMIT, Column, number_of, read_columns


def columns(*rows: dict[str, Any]) -> dict[str, Column]:
    return {column.path: column for column in read_columns(rows)[0]}


def test_nested_objects_and_dotted_keys_become_the_same_paths() -> None:
    found = columns({"id": {"orig_h": "::1"}, "id.orig_p": 80}, {"id": {"orig_p": 81}})
    assert {path: column.values for path, column in found.items()} == {"id.orig_h": ["::1"], "id.orig_p": [80, 81]}
    assert found["id.orig_h"].n_missing == 1


def test_what_is_no_single_value_is_missing() -> None:
    found = columns({"a": None, "b": "", "c": float("nan"), "d": float("inf"), "e": 0, "f": False})
    assert [column.path for column in found.values() if column.values] == ["e", "f"]


def test_lists_are_sets_of_values_and_single_values_among_them_lists_of_one() -> None:
    found, left_out = read_columns([{"a": [1, None], "b": 1}, {"a": "x", "b": (1, 2)}, {"a": []}])
    assert [(each.path, each.values, each.n_given, each.n_missing) for each in found] == [
        ("a[*]", [1, "x"], 2, 1), ("b[*]", [1, 2, 1], 2, 1)
    ]  # fmt: skip
    assert not left_out


def test_objects_in_lists_are_entered_and_keys_with_brackets_stay_keys() -> None:
    rows = [{"q": [{"name": "x", "t": {"c": [1]}}, {"name": "y"}], "k[0]": 1}, {"q": {"name": "z"}}]
    found, _ = read_columns(rows)
    assert {each.path: each.values for each in found} == {
        "q[*].name": ["x", "y", "z"], "q[*].t.c[*]": [1], "k\\[0]": [1]
    }  # fmt: skip


def test_of_a_value_and_an_object_at_one_path_the_more_frequent_stays() -> None:
    rows = [{"http": "x"}, {"http": {"host": "y"}}, {"http": {"host": "z"}}, {"dns": {"q": 1}}, {"dns": 1}, {"dns": 2}]
    found, left_out = read_columns(rows)
    assert [column.path for column in found] == ["http.host", "dns"]
    assert left_out["http"] == "cannot be read beside 'http.host': one lies inside the other"
    assert set(left_out) == {"http", "dns.q"}


def test_paths_that_no_schema_could_name_are_passed_over() -> None:
    row: dict[str, Any] = {"": 1, "a\n": 1, "\ud800": 1, "x" * (PATH_LIMIT + 1): 1, "ok": 1}
    deep: dict[str, Any] = row
    for _ in range(70):
        deep["d"] = {}
        deep = deep["d"]
    deep["e"] = 1
    found, left_out = read_columns([row])
    assert ([column.path for column in found], left_out) == (["ok"], {})


def test_values_of_other_libraries_are_read_as_json_would_hold_them() -> None:
    now = datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.UTC)
    found = columns({"a": np.int64(3), "b": np.float32("nan"), "c": now, "d": Decimal("1.5")})
    assert {path: column.values for path, column in found.items()} == {
        "a": [3], "b": [], "c": ["2024-01-02T03:00:00+00:00"], "d": ["1.5"],
    }  # fmt: skip


def test_values_of_different_types_are_different() -> None:
    column = columns({"a": 1}, {"a": "1"}, {"a": True}, {"a": 1.0}, {"a": 1})["a"]
    assert sorted((str(value), count) for value, count in column.distinct) == [
        ("1", 1),
        ("1", 2),
        ("1.0", 1),
        ("True", 1),
    ]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0), (True, 1.0), ("-1.5e3", -1500.0), (" +7\t", 7.0), ("007", None), ("1_0", None), ("٣", None),
        ("nan", None), ("", None), ("1e999", None), (10**400, None), (None, None), ([1], None),
    ],
)  # fmt: skip
def test_numbers_are_those_of_json_or_texts_of_them(value: Any, number: float | None) -> None:
    assert number_of(value) == number


def test_a_column_knows_whether_its_numbers_are_whole() -> None:
    assert not columns({"a": 1}, {"a": "2.0"})["a"].has_fractions
    assert columns({"a": 1}, {"a": "2.5"})["a"].has_fractions
