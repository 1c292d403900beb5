"""Labels as people write them, as arrays; what fits no form is refused with what is allowed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.data.cells import CellReading, class_name
from jenga.data.labels import (
    ClassLabels,
    HeadColumn,
    ItemLabels,
    NumberLabels,
    RowError,
    numbered_names,
    read_cell,
    show,
    some_of,
)
from jenga.types import HeadSpace, LabelKind

NAN = math.nan


def encoder(kind: LabelKind, labels: tuple[str, ...], *, configured: bool = False) -> Any:
    column = HeadColumn("task", "head", kind, ("label",), None, labels if configured else None)
    space = HeadSpace("task", "head", kind, len(labels), labels)
    return {"class": ClassLabels, "items": ItemLabels, "number": NumberLabels}[kind](column, space)


@pytest.mark.parametrize(
    ("value", "name"),
    [("a", "a"), ("3", 3), (" 3 ", 3), ("3.0", 3), ("-1", -1), (3, 3), (3.0, 3), (True, 1), (0.5, None), ([1], None)],
)
def test_a_class_is_an_integer_or_a_name(value: Any, name: Any) -> None:
    assert class_name(value) == name


@pytest.mark.parametrize(
    ("labels", "value", "code"),
    [
        (("neg", "pos"), "pos", 1),
        (("0", "1", "2"), 2, 2),
        (("0", "1", "2"), "2", 2),
        (("0", "1", "2"), 2.0, 2),
        (("0", "1", "2"), True, 1),
        (("1", "2", "3"), 1, 0),
        (("false", "true"), True, 1),
        (("false", "true"), 0, 0),
        (("1", "2", "other"), "1", 0),
        (("false", "true"), "True", 1),
        (("False", "True"), True, 1),
        (("a", "false", "true"), False, 1),
        (("neg", "pos"), " pos ", 1),
    ],
)
def test_classes_by_name_number_and_truth(labels: tuple[str, ...], value: Any, code: int) -> None:
    assert encoder("class", labels).encode(value) == code


def test_a_number_picks_a_named_class_only_where_the_configuration_gave_the_order() -> None:
    assert encoder("class", ("neg", "pos"), configured=True).encode(1) == 1
    assert encoder("class", ("neg", "pos"), configured=True).encode("0") == 0
    assert encoder("class", ("no", "yes"), configured=True).encode(True) == 1
    assert encoder("class", ("1", "2"), configured=True).encode(2) == 1
    with pytest.raises(RowError, match="class 1 is not one of 2"):
        encoder("class", ("neg", "pos")).encode(1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            "positve",
            r"head 'task.head': \"positve\" is no class; did you mean 'positive'\? Allowed: negative, positive",
        ),
        (0.5, "0.5 is no class"),
        (["positive"], "is no class"),
        ({"a": 1}, "is no class"),
        ("N/A", r"null where there is none, or set `missing_values: \[\"N/A\"\]` of the head"),
        (2, "class 2 is not one of 2"),
        ("-1", "class -1 is not one of 2. Allowed: .*; null where there is none"),
    ],
)
def test_an_unknown_class_is_refused_with_the_near_one(value: Any, words: str) -> None:
    with pytest.raises(RowError, match=words):
        encoder("class", ("negative", "positive")).encode(value)


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
    code = encoder("items", ("a", "b", "c")).encode(value)
    assert code.dtype == np.float32
    np.testing.assert_array_equal(code, np.array(marks, np.float32))


@pytest.mark.parametrize(("value", "mark"), [(1, 1), ([0], 0), (True, 1), ("1", 1), ("0", 0), ([None], NAN)])
def test_one_item_may_stand_without_a_list(value: Any, mark: float) -> None:
    np.testing.assert_array_equal(encoder("items", ("0",)).encode(value), np.array([mark], np.float32))


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
        encoder("items", labels).encode(value)


def test_a_word_for_no_label_among_items_is_refused_and_says_so() -> None:
    column = HeadColumn("task", "head", "items", ("label",), None, None, cells=CellReading(("n/a",), separator="|"))
    items = ItemLabels(column, HeadSpace("task", "head", "items", 2, ("a", "b")))
    for value in ("a|N/A", ["a", "N/A"]):
        with pytest.raises(RowError, match='"N/A" stands among items, but means that there is no label'):
            items.encode(value)
    assert items.is_missing("N/A")
    assert items.encode("").tolist() == [0, 0]
    assert items.encode("b | a").tolist() == [1, 1]


def test_words_of_marks_are_as_many_as_the_items() -> None:
    column = HeadColumn("task", "head", "items", ("label",), None, ("a", "b"), cells=CellReading(("",), marks=True))
    items = ItemLabels(column, HeadSpace("task", "head", "items", 2, ("a", "b")))
    assert items.encode(["yes", "no"]).tolist() == [1, 0]
    assert items.encode(["b"]).tolist() == [0, 1]
    with pytest.raises(RowError, match="1 values for 2 items"):
        items.encode("yes")
    with pytest.raises(RowError, match='"maybe" is no mark'):
        items.encode(["yes", "maybe"])


@pytest.mark.parametrize(
    ("size", "value", "numbers"),
    [(1, 2, [2]), (1, "1e3", [1000]), (1, [0.5], [0.5]), (2, [1, None], [1, NAN]), (2, "[1, 2.5]", [1, 2.5])],
)
def test_numbers_alone_in_lists_and_as_text(size: int, value: Any, numbers: list[float]) -> None:
    code = encoder("number", numbered_names(size)).encode(value)
    assert code.dtype == np.float32
    np.testing.assert_array_equal(code, np.array(numbers, np.float32))


@pytest.mark.parametrize(
    "value",
    ["high", True, {"a": 1}, NAN, math.inf, "nan", "-inf", 1e39, "1e999", 10**400, [[1]]],
    ids=lambda v: str(v)[:9],
)
def test_what_is_no_finite_float32_is_refused(value: Any) -> None:
    with pytest.raises(RowError, match="is no finite number; null where there is none"):
        encoder("number", ("value",)).encode(value)


def test_numbers_of_another_count_are_refused() -> None:
    with pytest.raises(RowError, match="holds 3 numbers; allowed: 2"):
        encoder("number", ("a", "b")).encode([1, 2, 3])


def test_a_number_that_is_nan_is_no_missing_number() -> None:
    assert encoder("class", ("a",)).is_missing(NAN)
    assert encoder("items", ("a",)).is_missing(NAN)
    assert not encoder("number", ("a",)).is_missing(NAN)
    assert encoder("number", ("a",)).is_missing(None)
    assert encoder("number", ("a",)).is_missing("")


def test_stacks_have_the_promised_shapes_and_types_even_when_empty() -> None:
    for kind, shape, dtype in (("class", (), np.int64), ("items", (2,), np.float32), ("number", (2,), np.float32)):
        head = encoder(kind, ("a", "b"))  # type: ignore[arg-type]
        for rows in (0, 3):
            array = head.stack([head.missing] * rows)
            assert (array.shape, array.dtype) == ((rows, *shape), dtype)
    assert encoder("class", ("a",)).missing == -100


def test_a_cell_of_a_table_may_hold_json() -> None:
    assert read_cell(' [1, "a"]', "head") == [1, "a"]
    assert read_cell("plain", "head") == "plain"
    assert read_cell(None, "head") is None
    with pytest.raises(RowError, match=r"head: .* is not JSON"):
        read_cell("['a', 'b']", "head")


def test_messages_stay_short() -> None:
    assert len(show("x" * 1000)) <= 80
    assert some_of(map(str, range(150))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (150 in all)"
    assert some_of("ab") == "a, b"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["a", "b", "0", "[1", "[1, 0]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(value=JSON, kind=st.sampled_from(["class", "items", "number"]))
def test_any_json_is_encoded_or_refused(value: Any, kind: LabelKind) -> None:
    head = encoder(kind, ("a", "b"))
    if head.is_missing(value):
        return
    try:
        code = head.encode(value)
    except RowError as error:
        str(error).encode()
        return
    assert np.asarray(code).shape == (() if kind == "class" else (2,))
    assert kind != "class" or code in (0, 1)
    assert kind == "class" or not np.isinf(code).any()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("normal", 0), ("Benign", 0), (" clean ", 0), (0, 0), ("0", 0), (False, 0), ("false", 0),
        ("anomaly", 1), ("attack", 1), (1, 1), (7, 1), (True, 1), ("yes", 1),
    ],
)  # fmt: skip
def test_where_labels_are_made_up_all_that_is_not_normal_is_an_anomaly(value: Any, code: int) -> None:
    space = HeadSpace("task", "head", "class", 2, ("normal", "anomaly"))
    column = HeadColumn("task", "head", "class", ("label",), None, None, None, False, True)
    assert ClassLabels(column, space).encode(value) == code
    with pytest.raises(RowError, match="is no class"):
        ClassLabels(column, space).encode([1])
    if value not in space.labels:
        with pytest.raises(RowError):
            ClassLabels(replace(column, open=False), space).encode(value)
