"""Label spaces from the configuration and from rows, and what the rows cannot teach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.errors import DataError
from jenga.labels.cells import CellReading
from jenga.labels.column import HeadColumn
from jenga.labels.spaces import case_warnings, coverage_warnings, infer_normal_space, infer_space
from jenga.types import HeadSpace


def names(kind: str, values: list[Any], size: int | None = None, labels: tuple[str, ...] | None = None) -> list[str]:
    column = HeadColumn("task", "head", kind, ("label",), size, labels)
    space = infer_space(column, values, max_bad_fraction=0.01)
    assert (space.task, space.head, space.kind, space.size) == ("task", "head", kind, len(space.labels))
    return list(space.labels)


@pytest.mark.parametrize(
    ("values", "size", "labels", "found"),
    [
        (["b", "a", "b"], None, None, ["a", "b"]),
        ([2, 0], None, None, ["0", "1", "2"]),
        (["2", "0.0"], None, None, ["0", "1", "2"]),
        ([2.0, 0.0], None, None, ["0", "1", "2"]),
        ([0, 1], 4, None, ["0", "1", "2", "3"]),
        ([True, False], None, None, ["false", "true"]),
        ([True], None, None, ["false", "true"]),
        ([True, "true", False, "false", "True"], None, None, ["false", "true"]),
        ([True, "true", "maybe"], None, None, ["maybe", "true"]),
        (["billing", "billing ", " delay"], None, None, ["billing", "delay"]),
        (["1", "other"], None, None, ["1", "other"]),
        (["a"], 3, None, ["a", "unused_1", "unused_2"]),
        (["b"], None, ("b", "a"), ["b", "a"]),
        ([0] * 200 + [9], 2, None, ["0", "1"]),
        (["a", [1], "b"], None, None, ["a", "b"]),
        ([1, 2, 3, 5, 4], None, None, ["1", "2", "3", "4", "5"]),
        (["-1", 0, 1], None, None, ["-1", "0", "1"]),
    ],
)
def test_classes(values: list[Any], size: int | None, labels: Any, found: list[str]) -> None:
    assert names("class", values, size, labels) == found


@pytest.mark.parametrize(
    ("values", "size", "words"),
    [
        (
            ["a", "b", "c"],
            2,
            r"head 'task.head': the rows hold 3 classes \(a, b, c\), but num_labels is 2; set num_labels",
        ),
        ([0, 1, 2, 3], 3, r"the rows hold 4 classes \(0, 1, 2, 3\), but num_labels is 3, which allows 0 to 2"),
        ([1, 2, 3], 3, "allows 0 to 2; name the classes in `labels`, or renumber them from 0"),
        ([-5, 0, 1], None, "are not numbers that count from 0"),
        ([200, 404, 500], None, "are not numbers that count from 0"),
        (["same", "same "], None, "all training rows are of one class, 'same', which cannot be told from another"),
        ([3, 1_000_000_000], None, "are not numbers that count from 0"),
        ([0.5], None, "no label in the training rows has a form that is allowed for 'class'"),
    ],
)
def test_classes_that_do_not_fit_say_how_many_and_which(values: list[Any], size: int | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        names("class", values, size)


@pytest.mark.parametrize(
    ("values", "size", "found"),
    [
        ([["b"], ["a", "c"], []], None, ["a", "b", "c"]),
        ([{"b": 1}, {"a": None}], None, ["a", "b"]),
        (["b", '["a"]'], None, ["a", "b"]),
        ([[1, 0, None], [0, 0, 1], [1]], None, ["0", "1", "2"]),
        (["[1, 0]"], None, ["0", "1"]),
        ([1, 0], None, ["head"]),
        (["1", "0"], None, ["head"]),
        ([[1, 0]], 3, ["0", "1", "2"]),
        ([["a"]], 2, ["a", "unused_1"]),
        ([["a ", "b"], " a"], None, ["a", "b"]),
        (["[broken", ["a"]], None, ["a"]),
    ],
)
def test_items(values: list[Any], size: int | None, found: list[str]) -> None:
    assert names("items", values, size) == found


def test_the_two_answers_of_an_item_are_never_two_items() -> None:
    with pytest.raises(DataError, match="no, yes are the two answers of one item, and not two items; leave `labels`"):
        names("items", ["yes"], None, ("no", "yes"))
    with pytest.raises(DataError, match="are the two answers of one item"):
        names("items", [["yes"], ["no"]])
    assert names("items", [["yes"], ["no"], ["sw"]]) == ["no", "sw", "yes"]
    with pytest.raises(DataError, match="0 and 1 alone are read as names of items"):
        names("items", [["1"], ["0", "1"]])
    assert names("items", [["1"], ["0", "2"]]) == ["0", "1", "2"]
    assert names("items", [["1"]], None, ("0", "1")) == ["0", "1"]


def test_blanks_around_the_keys_of_a_mapping_are_no_part_of_them() -> None:
    assert names("items", [{"billing ": 1, "late": 0}, {"billing": 0}]) == ["billing", "late"]


def test_cells_are_parted_and_words_for_no_label_are_no_items() -> None:
    cells = CellReading(("n/a",), separator="|")
    column = HeadColumn("task", "head", "items", ("label",), None, None, cells=cells)
    found = infer_space(column, ["a|b", "c", "", "a|N/A", "3|a"], max_bad_fraction=0.01)
    assert found.labels == ("3", "a", "b", "c")


def test_labels_that_differ_in_case_alone_are_warned_of() -> None:
    (words,) = case_warnings(space("class", "Billing", "billing", "delay"))
    assert words.startswith(
        "head 'task.head': 'Billing' and 'billing' differ in case alone and are labels of their own"
    )
    (words,) = case_warnings(space("tags", "O", "B-PER", "I-PER", "B-per", "I-per"))
    assert "'PER' and 'per'" in words
    assert case_warnings(space("items", "a", "b")) == []


def test_more_items_than_configured_are_refused() -> None:
    with pytest.raises(DataError, match=r"the rows hold 3 items \(a, b, c\), but num_labels is 2"):
        names("items", [["a", "b"], ["c"]], 2)


@pytest.mark.parametrize(
    ("values", "size", "found"),
    [([1.5, "2"], None, ["head"]), ([[1, 2], "[3, 4]"], None, ["0", "1"]), ([[1, 2]], 3, ["0", "1", "2"])],
)
def test_numbers(values: list[Any], size: int | None, found: list[str]) -> None:
    assert names("number", values, size) == found


@pytest.mark.parametrize(
    ("values", "size", "labels", "found"),
    [
        ([["O", "B-x"], ["I-a"]], None, None, ["O", "B-a", "I-a", "B-x", "I-x"]),
        ([[], [{"start": 0, "end": 1, "label": "x"}]], None, None, ["O", "B-x", "I-x"]),
        ([[{"start": 0, "end": 1, "label": label} for label in ("x", "x ")]], None, None, ["O", "B-x", "I-x"]),
        (['[{"start": 0, "end": 1, "label": "x"}]'], None, None, ["O", "B-x", "I-x"]),
        ([["B-x"]], 5, None, ["O", "B-x", "I-x", "unused_3", "unused_4"]),
        ([[1]], None, ("O", "B-x", "I-x"), ["O", "B-x", "I-x"]),
        ([], None, ("y", "x"), ["O", "B-x", "I-x", "B-y", "I-y"]),
    ],
)
def test_tags(values: list[Any], size: int | None, labels: Any, found: list[str]) -> None:
    assert names("tags", values, size, labels) == found


def test_tags_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"the rows hold 3 tags .* but num_labels is 2"):
        names("tags", [["B-x"]], 2)
    with pytest.raises(DataError, match="the tags are numbers; set `labels`"):
        names("tags", [[0, 1]])
    with pytest.raises(DataError, match="no label in the training rows has a form"):
        names("tags", [["O"], []])


NAN = float("nan")


def space(kind: str, *labels: str) -> HeadSpace:
    return HeadSpace("task", "head", kind, len(labels), labels)


def test_classes_items_and_types_without_a_row_are_warned_of() -> None:
    (words,) = coverage_warnings(space("class", "a", "b", "c"), np.array([0, 0, 2, -100]))
    assert words == "head 'task.head': 1 of 3 classes have no training row: b"
    (words,) = coverage_warnings(space("items", "a", "b"), np.array([[0, 1], [NAN, 1]], np.float32))
    assert words == "head 'task.head': 1 of 2 items have no training row: a"
    tags = [np.array([1, 2]), np.array([-100])]
    (words,) = coverage_warnings(space("tags", "O", "B-x", "I-x", "B-y", "I-y"), tags)
    assert words == "head 'task.head': 1 of 5 tags have no training row: B-y"
    assert coverage_warnings(space("class", "a", "b"), np.array([0, 1])) == []
    assert coverage_warnings(space("number", "a"), np.array([[NAN]], np.float32)) == []


def test_one_class_only_is_warned_of() -> None:
    words = coverage_warnings(space("class", "a", "b"), np.array([1, 1, -100]))
    assert "head 'task.head': all 2 labelled training rows are of one class, 'b'" in words


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["B-x", "O", "[1", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["label", "start", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(values=st.lists(JSON, max_size=4), kind=st.sampled_from(["class", "items", "number", "tags"]))
def test_any_json_gives_a_space_or_a_data_error(values: list[Any], kind: str) -> None:
    try:
        found = names(kind, values)
    except DataError:
        return
    assert len(found) == len(set(found)) > 0


@pytest.mark.parametrize(
    ("values", "unlabelled", "size", "found", "absent", "made_up"),
    [
        ([], True, None, ("normal", "anomaly"), "normal", True),
        (["normal"], False, 2, ("normal", "anomaly"), "normal", True),
        (["0"], False, None, ("0", "anomaly"), "0", True),
        (["anomaly"], False, None, ("normal", "anomaly"), "normal", False),
        (["dos"], True, None, ("normal", "dos"), "normal", False),
        (["Benign", "dos"], True, 4, ("Benign", "dos"), "Benign", False),
        (["web", "dos"], False, None, ("dos", "web"), "normal", False),
    ],
)
def test_a_space_of_normal_rows_has_a_normal_class_and_no_unused_one(
    values: list[Any], unlabelled: bool, size: int | None, found: tuple[str, ...], absent: str, made_up: bool
) -> None:
    column = HeadColumn("task", "head", "class", ("label",), size, None, "normal")
    space, settled = infer_normal_space(column, values, unlabelled=unlabelled, max_bad_fraction=0.01)
    assert (space.labels, space.size) == (found, len(found))
    assert (settled.absent, settled.open) == (absent, made_up)


def test_labels_of_no_form_are_an_error_where_they_are_optional_too() -> None:
    column = HeadColumn("task", "head", "class", ("label",), None, None, "normal")
    with pytest.raises(DataError, match="no label in the rows has a form that is allowed"):
        infer_normal_space(column, [[1]], unlabelled=False, max_bad_fraction=0.01)
