"""Items as people write them; what fits no form is refused with what is allowed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from jenga.labels.cells import CellReading
from jenga.labels.column import HeadColumn, RowError
from jenga.labels.item_cells import ItemReader, item_names
from jenga.types import HeadSpace

NAN = math.nan


def encoder(labels: tuple[str, ...], *, configured: bool = False) -> ItemReader:
    column = HeadColumn("task", "head", "items", ("label",), None, labels if configured else None)
    return ItemReader(column, HeadSpace("task", "head", "items", len(labels), labels))


@pytest.mark.parametrize(
    ("value", "marks"),
    [
        ([1, 0, None], [1, 0, NAN]),
        ([True, False, 1.0], [1, 0, 1]),
        (["a", "c"], [1, 0, 1]),
        ([], [0, 0, 0]),
        ("b", [0, 1, 0]),
        ('["b", "c"]', [0, 1, 1]),
        ("[1, 0, null]", [1, 0, NAN]),
        ({"a": 1, "b": None}, [1, NAN, NAN]),
        ({"a": "yes", "b": "No"}, [1, 0, NAN]),
        ([" a ", "c"], [1, 0, 1]),
        (" b ", [0, 1, 0]),
        ('{"c": 0}', [NAN, NAN, 0]),
    ],
)
def test_items_as_marks_names_or_mapping(value: Any, marks: list[float]) -> None:
    code = encoder(("a", "b", "c")).encode(value)
    assert code.dtype == np.float32
    np.testing.assert_array_equal(code, np.array(marks, np.float32))


@pytest.mark.parametrize(("value", "mark"), [(1, 1), ([0], 0), (True, 1), ("1", 1), ("0", 0), ([None], NAN)])
def test_one_item_may_stand_without_a_list(value: Any, mark: float) -> None:
    np.testing.assert_array_equal(encoder(("0",)).encode(value), np.array([mark], np.float32))


@pytest.mark.parametrize(
    ("labels", "value", "words"),
    [
        (("a", "b"), [1, 0, 1], "3 values for 2 items. Allowed: a list of 2 marks"),
        (("a", "b"), ["a", "d"], r'"d" is no item. Allowed: .*or item names: a, b'),
        (("anger", "joy"), "angr", "is no list of items"),
        (("anger", "joy"), ["angr"], "did you mean 'anger'"),
        (("a", "b"), [1, 2], "2 is no mark of an item; allowed: 1, 0 and null, and the words of `true_values`"),
        (("a", "b"), [0.3, 1], "0.3 is no mark"),
        (("a", "b"), ["a", 1], r'"a" is no mark'),
        (("a", "b"), {"c": 1}, "is no item"),
        (("a", "b"), {"a": "maybe"}, '"maybe" is no mark'),
        (("a", "b"), "yes", "is no list of items"),
        (("a", "b"), 1, "is no list of items"),
        (("a", "b"), "[1, 0", "is not JSON"),
        (("0", "1"), [], "0 values for 2 items"),
        (("0",), 0.5, "0.5 is no mark"),
        (("0",), "2", "is no list of items"),
    ],
)
def test_items_of_another_form_are_refused(labels: tuple[str, ...], value: Any, words: str) -> None:
    with pytest.raises(RowError, match=words):
        encoder(labels, configured=labels[0] != "0").encode(value)


@pytest.mark.parametrize(
    ("value", "marks"),
    [(["a", "d{}"], [1, 0]), ("d{}", [0, 0]), ({"d{}": 1, "b": 0}, [NAN, 0])],
)
def test_items_that_no_training_row_has_are_told_and_the_others_judged(value: Any, marks: list[float]) -> None:
    reader = encoder(("a", "b"))
    np.testing.assert_array_equal(reader.encode(value), np.array(marks, np.float32))
    assert dict(reader.unseen) == {'"d{}"': 1}
    assert reader.unseen_do == "no score counts them"
    assert not reader.notes
    for other in (["a", "N/A"], ["a", ""], "yes"):
        with pytest.raises(RowError):
            reader.encode(other)


@pytest.mark.parametrize(
    ("columns", "written", "name"),
    [
        (("greets_caller",), True, "greets_caller"),
        (("labels.greets",), True, "greets"),
        (("label", "head"), False, "head"),
    ],
)
def test_the_only_item_of_a_head_is_called_as_its_column_or_the_head(
    columns: tuple[str, ...], written: bool, name: str
) -> None:
    column = HeadColumn("task", "head", "items", columns, None, None, written=written)
    assert item_names(column, [1, 0, 1]) == (name,)
    reader = ItemReader(column, HeadSpace("task", "head", "items", 1, (name,)))
    assert [reader.encode(cell).tolist() for cell in (1, "0", name)] == [[1], [0], [1]]
    with pytest.raises(RowError, match="is no list of items"):
        reader.encode("maybe")


def test_a_word_for_no_label_among_items_is_refused_and_says_so() -> None:
    column = HeadColumn("task", "head", "items", ("label",), None, None, cells=CellReading(("n/a",), separator="|"))
    items = ItemReader(column, HeadSpace("task", "head", "items", 2, ("a", "b")))
    for value in ("a|N/A", ["a", "N/A"]):
        with pytest.raises(RowError, match='"N/A" stands among items, but means that there is no label'):
            items.encode(value)
    assert items.is_missing("N/A")
    assert items.encode("").tolist() == [0, 0]
    assert items.encode("b | a").tolist() == [1, 1]


def test_words_of_marks_are_as_many_as_the_items() -> None:
    column = HeadColumn("task", "head", "items", ("label",), None, ("a", "b"), cells=CellReading(("",), marks=True))
    items = ItemReader(column, HeadSpace("task", "head", "items", 2, ("a", "b")))
    assert items.encode(["yes", "no"]).tolist() == [1, 0]
    assert items.encode(["b"]).tolist() == [0, 1]
    with pytest.raises(RowError, match="1 values for 2 items"):
        items.encode("yes")
    with pytest.raises(RowError, match='"maybe" is no mark'):
        items.encode(["yes", "maybe"])


def test_an_item_that_a_mapping_names_twice_is_refused() -> None:
    head = encoder(("a", "b"))
    np.testing.assert_array_equal(head.encode({" a": 1}), np.array([1, NAN], np.float32))
    with pytest.raises(RowError, match="gives an item twice, blanks aside"):
        head.encode({"a": 1, "a ": 0})


def test_nan_is_a_missing_label() -> None:
    assert encoder(("a",)).is_missing(math.nan)
