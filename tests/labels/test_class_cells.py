"""Cells of classes: names, numbers, truth values, and what is none of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from jenga.labels.class_cells import ClassReader
from jenga.labels.column import HeadColumn, RowError
from jenga.labels.unseen import is_unseen
from jenga.types import IGNORE_INDEX, HeadSpace


def encoder(labels: tuple[str, ...], *, configured: bool = False) -> ClassReader:
    column = HeadColumn("task", "head", "class", ("label",), None, labels if configured else None)
    return ClassReader(column, HeadSpace("task", "head", "class", len(labels), labels))


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
    assert encoder(labels).encode(value) == code


def test_a_number_picks_a_named_class_only_where_the_configuration_gave_the_order() -> None:
    assert encoder(("neg", "pos"), configured=True).encode(1) == 1
    assert encoder(("neg", "pos"), configured=True).encode("0") == 0
    assert encoder(("no", "yes"), configured=True).encode(True) == 1
    assert encoder(("1", "2"), configured=True).encode(2) == 1
    with pytest.raises(RowError, match="class 1 is not one of 2"):
        encoder(("neg", "pos")).encode(1)


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
        encoder(("negative", "positive"), configured=True).encode(value)


@pytest.mark.parametrize(
    ("labels", "value"),
    [(("a", "b"), "c"), (("a", "b"), " c "), (("0", "1"), 2), (("0", "1"), "2"), (("a",), "\ud83d")],
)
def test_a_class_that_training_rows_lack_has_a_code_of_its_own_and_is_counted(
    labels: tuple[str, ...], value: Any
) -> None:
    reader = encoder(labels)
    code = reader.encode(value)
    assert is_unseen(code)
    assert encoder(labels).encode(value) == code != encoder(labels).encode("3" if labels == ("0", "1") else "d")
    assert reader.unseen.total() == 1


@pytest.mark.parametrize(
    ("labels", "value"), [(("a", "b"), 2), (("a", "b"), "N/A"), (("0", "1"), "c"), (("0", "1"), -1), (("a",), 0.5)]
)
def test_a_value_of_another_form_is_no_class_that_training_rows_lack(labels: tuple[str, ...], value: Any) -> None:
    with pytest.raises(RowError):
        encoder(labels).encode(value)


def test_the_near_class_is_named_where_one_may_be_misspelt() -> None:
    reader = encoder(("negative", "positive"))
    reader.encode("positve")
    assert list(reader.unseen) == ["\"positve\"; did you mean 'positive'?"]


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
    assert ClassReader(column, space).encode(value) == code
    with pytest.raises(RowError, match="is no class"):
        ClassReader(column, space).encode([1])
    if value not in space.labels:
        with pytest.raises(RowError):
            ClassReader(replace(column, open=False, size=2), space).encode(value)


def test_a_word_for_no_label_is_none_though_a_class_is_called_so() -> None:
    column = HeadColumn("task", "head", "class", ("head",), None, None)
    column = replace(column, cells=replace(column.cells, missing=("normal", "")))
    reader = ClassReader(column, HeadSpace("task", "head", "class", 2, ("attack", "normal")))
    assert [reader.read(cell, "", ()) for cell in ("attack", "normal", "")] == [0, IGNORE_INDEX, IGNORE_INDEX]


def test_nan_is_a_missing_label() -> None:
    assert encoder(("a",)).is_missing(math.nan)
