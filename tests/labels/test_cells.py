"""What single cells say, and what is left of them between separators."""

from __future__ import annotations

import math
from typing import Any

import pytest

from jenga.labels.cells import MISSING, NO, WHOLE, YES, CellReading, class_name, folded, parted


@pytest.mark.parametrize("value", [None, math.nan, "", "  "])
def test_null_and_blank_are_missing_before_anything_is_decided(value: Any) -> None:
    assert CellReading().is_missing(value)


@pytest.mark.parametrize("word", ["N/A", "n/a", "NA", " null ", "None", "-", "nan", "#N/A", "<NA>", ""])
def test_words_for_no_label_are_missing_case_and_blanks_aside(word: str) -> None:
    assert CellReading(missing=MISSING).is_missing(word)


@pytest.mark.parametrize("word", ["0", "no", "a", "--", "none of them"])
def test_other_words_are_not_missing(word: str) -> None:
    assert not CellReading(missing=MISSING).is_missing(word)
    assert not CellReading(missing=MISSING).is_missing(0)


def test_a_blank_is_not_missing_where_the_words_leave_it_out() -> None:
    assert not CellReading(missing=("n/a",)).is_missing("")
    assert CellReading(missing=("n/a",)).is_missing(None)


@pytest.mark.parametrize(
    ("value", "mark"),
    [
        ("yes", 1), ("No", 0), (" TRUE ", 1), ("f", 0), ("Ja", 1), ("nein", 0), ("Ndiyo", 1), ("hapana", 0),
        ("oui", 1), ("non", 0), ("Sí", 1), ("si", 1), ("y", 1), ("1", 1), ("0.0", 0), (1, 1), (False, 0), (1.0, 1),
        ("maybe", None), ("2", None), (2, None), (0.5, None), (None, None), ({}, None), ("", None),
    ],
)  # fmt: skip
def test_words_and_numbers_are_marks(value: Any, mark: float | None) -> None:
    assert CellReading().mark(value) == mark


def test_given_words_are_marks_in_place_of_the_usual_ones_and_numbers_too() -> None:
    survey = CellReading(true=("1", "passed"), false=("2", ""))
    assert [survey.mark(value) for value in ("Passed", 1, "2", 2, "", "yes")] == [1, 1, 0, 0, 0, None]


def test_no_word_means_two_things() -> None:
    assert not folded(YES) & folded(NO)
    assert not folded((*YES, *NO)) & folded(MISSING)


def test_labels_stand_between_separators_without_blanks() -> None:
    assert parted("billing | delay|", "|") == ["billing", "delay"]
    assert parted(" a, b ", WHOLE) == ["a, b"]
    assert parted(" ", ";") == []
    assert CellReading(separator=";").parts("a;b") == ["a", "b"]
    assert CellReading().parts("a;b") == ["a;b"]


def test_blanks_around_a_class_are_no_part_of_its_name() -> None:
    assert class_name(" billing ") == "billing"


@pytest.mark.parametrize(
    ("value", "name"),
    [("a", "a"), ("3", 3), (" 3 ", 3), ("3.0", 3), ("-1", -1), (3, 3), (3.0, 3), (True, 1), (0.5, None), ([1], None)],
)
def test_a_class_is_an_integer_or_a_name(value: Any, name: Any) -> None:
    assert class_name(value) == name
