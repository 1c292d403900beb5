"""Labels that stand in a column each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from jenga.labels.column import HeadColumn, RowError
from jenga.labels.forms import settle
from jenga.labels.item_cells import ItemReader
from jenga.labels.items import ItemsHead
from jenga.labels.joined import joined_names
from jenga.labels.numbers import NumberHead, NumberReader
from jenga.labels.spaces import infer_space


def read(kind: str, cells: list[list[Any]]) -> tuple[tuple[str, ...], list[list[float]]]:
    """Return the names of labels in the columns a and b, and how rows of their cells are read."""
    column = HeadColumn("task", "head", kind, ("a", "b"), None, None, joined=("a", "b"))
    found = settle(column, cells)
    space = infer_space(found.column, found.labels, max_bad_fraction=0.0)
    reader: Any = {"items": ItemReader, "number": NumberReader}[kind](found.column, space)
    return space.labels, [reader.encode(row).tolist() for row in cells]


@pytest.mark.parametrize(
    "cells",
    [
        [["yes", "no"], ["N/A", "yes"], ["", "no"]],
        [[1, 0], [None, True], [None, 0.0]],
        [["1", 0], ["-", 1], [None, "0"]],
    ],
)
def test_items_are_called_as_their_columns_and_a_missing_cell_is_one_item_not_known(cells: list[list[Any]]) -> None:
    names, marks = read("items", cells)
    assert names == ("a", "b")
    np.testing.assert_array_equal(marks, [[1, 0], [np.nan, 1], [np.nan, 0]])


def test_a_cell_that_is_no_mark_makes_its_row_bad_and_is_never_a_name() -> None:
    with pytest.raises(RowError, match=r'"x" is no mark of an item.*`true_values`'):
        read("items", [["x", ""], ["", "x"]])


def test_numbers_are_called_as_their_columns() -> None:
    assert read("number", [["1.5", 2], [0, "3"]]) == (("a", "b"), [[1.5, 2.0], [0.0, 3.0]])


def test_names_are_the_last_parts_of_columns_or_those_given() -> None:
    assert joined_names(("labels.greets", "labels.ends"), None) == ("greets", "ends")
    assert joined_names(("one.x", "two.x"), None) == ("one.x", "two.x")
    assert joined_names(("a", "b"), ["first", "second"]) == ("first", "second")


@pytest.mark.parametrize("block", [ItemsHead, NumberHead])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": ["a", "a"]}, "given twice"),
        ({"columns": ["a"], "column": "a"}, "keep one of them"),
        ({"columns": ["a", "b"], "labels": ["x"]}, "names 2 columns, but labels has 1"),
        ({"columns": ["a", "b"], "num_labels": 3}, "names 2 columns, but num_labels has 3"),
        ({"columns": []}, "at least 1"),
    ],
)
def test_columns_that_contradict_other_settings_are_refused(block: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        block(name="head", **settings)
