"""Columns by dotted name."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.labels.column import HeadColumn
from jenga.rows.columns import absent_columns, column_names, find_column, is_missing, label_place, lookup, no_column

NESTED = {"text": "a", "labels": {"opening": [1, 0], "flat": 8, "deep": {"er": 3}}, "labels.flat": 7, "list": [1]}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("text", "a"),
        ("labels.opening", [1, 0]),
        ("labels.deep.er", 3),
        ("labels.flat", 7),
        ("labels.nosuch", None),
        ("text.a", None),
        ("list.0", None),
        ("nosuch", None),
    ],
)
def test_dots_reach_into_objects_and_a_literal_name_wins(column: str, value: object) -> None:
    assert lookup(NESTED, column) == value


@pytest.mark.parametrize(
    ("value", "missing"), [(None, True), ("", True), (" \n", True), (float("nan"), True), (0, False)]
)
def test_missing_is_none_nan_and_blank(value: object, missing: bool) -> None:
    assert is_missing(value) is missing


def test_the_first_column_that_some_row_fills_is_used() -> None:
    rows: list[dict[str, Any]] = [{"label": None}, {"label": "", "labels": "x"}]
    assert find_column(rows, ("label", "labels")) == "labels"
    assert find_column(rows, ("label",)) == "label", "an empty column is still there"
    assert find_column(rows, ("nosuch", "neither.one")) is None


def test_an_error_names_the_columns_and_the_near_one() -> None:
    words = no_column("head 'a.b'", ("label", "labels"), [{"id": 1, "lable": 2, "o": {"x": 1}}], fix="Set it")
    assert words == (
        "head 'a.b': the rows have no column 'label' or 'labels'; did you mean 'lable'? "
        "Columns found: id, lable, o, o.x. Set it"
    )


def test_columns_are_listed_once_in_order() -> None:
    assert column_names([{"b": 1, "a": {"y": 1}}, {"a": {"x": 1}, "c": 1}]) == ["b", "a", "a.y", "a.x", "c"]


def head(*columns: str, joined: bool) -> HeadColumn:
    return HeadColumn("task", "head", "items", columns, None, None, joined=columns if joined else ())


def test_a_joined_head_has_a_list_of_cells_and_none_where_all_are_missing() -> None:
    rows = [{"a": 1, "x": {"b": 0}}, {"a": None}, {"a": 0}]
    place = label_place(rows, head("a", "x.b", joined=True))
    assert place is not None
    assert [place(row) for row in rows] == [[1, 0], None, [0, None]]
    assert label_place(rows, head("c", "d", joined=True)) is None
    single = label_place(rows, head("c", "a", joined=False))
    assert single is not None
    assert single(rows[0]) == 1


def test_a_joined_head_needs_all_its_columns_and_another_one_of_its_candidates() -> None:
    files = [[{"a": 1}], [{"b": 1}]]
    assert absent_columns(files, head("a", "b", "c", joined=True)) == ["c"]
    assert absent_columns(files, head("c", "b", joined=False)) == []
    assert absent_columns(files, head("c", "d", joined=False)) == ["c", "d"]
