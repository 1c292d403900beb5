"""What the training cells of a head decide of its reading, and what is told where they could be read otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.labels.cells import NO, YES, CellReading
from jenga.labels.class_cells import ClassReader
from jenga.labels.column import HeadColumn, RowError
from jenga.labels.forms import Settled, settle
from jenga.labels.item_cells import ItemReader
from jenga.labels.numbers import NumberReader
from jenga.labels.spaces import infer_space


def settled(kind: str, cells: list[Any], labels: tuple[str, ...] | None = None, **given: Any) -> Settled:
    column = HeadColumn("task", "head", kind, ("label",), None, labels, cells=CellReading(**given))
    found = settle(column, cells)
    again = settle(found.column, cells)
    assert (again.column, again.labels, again.warnings) == (found.column, found.labels, again.warnings)
    return found


def read(kind: str, cells: list[Any], labels: tuple[str, ...] | None = None, **given: Any) -> tuple[Any, Any]:
    """Return the label names, and what each cell is: a list of marks, a class's name, a number; None: missing."""
    found = settled(kind, cells, labels, **given)
    space = infer_space(found.column, found.labels, max_bad_fraction=0.01)
    encoder = {"items": ItemReader, "class": ClassReader, "number": NumberReader}[kind](found.column, space)

    def shown(cell: Any) -> Any:
        if encoder.is_missing(cell):
            return None
        code = encoder.encode(cell)
        return space.labels[code] if kind == "class" else [None if x != x else x for x in code.tolist()]

    return list(space.labels), [shown(cell) for cell in cells]


def test_na_in_a_column_of_marks_is_missing_and_is_told() -> None:
    cells = ["1", "0", "N/A", "n/a", "NA", "null", "none", "-", ""]
    assert read("items", cells) == (["head"], [[1], [0], *[None] * 7])
    assert settled("items", ["1", "0", "N/A", "N/A"]).warnings == [
        "head 'task.head': 2 cells \"N/A\" are read as missing labels; `missing_values` of the head says what is "
        "missing"
    ]


def test_given_words_are_missing_and_nothing_is_told() -> None:
    assert read("items", ["1", "0", "?"], missing=("?",)) == (["head"], [[1], [0], None])
    assert settled("items", ["1", "0", "?"], missing=("?",)).warnings == []


def test_a_word_for_no_label_that_is_configured_as_a_label_is_one() -> None:
    assert read("items", ["none", "billing", "N/A"], ("billing", "none")) == (
        ["billing", "none"],
        [[0, 1], [1, 0], None],
    )
    assert read("class", ["none", "billing"], ("billing", "none"), missing=("none",))[1] == ["none", "billing"]


def test_a_class_that_may_mean_no_label_stays_a_class_and_is_told() -> None:
    cells = ["billing", "none", "-", "N/A", "none"]
    assert read("class", cells) == (["-", "N/A", "billing", "none"], cells)
    (words,) = settled("class", cells).warnings
    assert '2 cells "none", 1 cells "-", 1 cells "N/A" are learnt as classes' in words
    assert 'set `missing_values: ["-", "N/A", "none"]`' in words
    assert settled("class", cells, missing=()).warnings == []
    assert read("class", cells, missing=("n/a", "none"))[1] == ["billing", None, "-", None, None]


@pytest.mark.parametrize("cells", [["0", "2", "N/A"], [0, 2, "none"]])
def test_beside_classes_that_are_numbers_no_word_is_a_class(cells: list[Any]) -> None:
    assert read("class", cells) == (["0", "1", "2"], ["0", "2", None])
    assert len(settled("class", cells).warnings) == 1


def test_numbers_have_words_for_none_too_but_nan_went_wrong() -> None:
    assert read("number", ["1.5", "N/A"])[1] == [[1.5], None]
    assert settled("number", ["1", "nan"]).labels == ["1", "nan"]


def test_entities_have_words_for_none_too() -> None:
    spans = [{"start": 0, "end": 1, "label": "x"}]
    assert settled("tags", [spans, "N/A", ""]).labels == [spans]


@pytest.mark.parametrize(
    "words",
    [("yes", "no"), ("Y", "N"), ("True", "False"), ("t", "f"), ("ja", "nein"), ("Ndiyo", "Hapana"), ("oui", "non"),
     ("sí", "no")],
)  # fmt: skip
def test_yes_and_no_are_the_marks_of_one_item(words: tuple[str, str]) -> None:
    yes, no = words
    assert read("items", [yes, no, "N/A", yes]) == (["head"], [[1], [0], None, [1]])


def test_yes_and_no_in_lists_are_marks_one_an_item() -> None:
    assert read("items", [["yes", "no", "N/A"], ["no", "no", "yes"]])[1] == [[1, 0, None], [0, 0, 1]]
    cells = ["yes|no", "no|no", "N/A|yes"]
    assert read("items", cells)[1] == [[1, 0], [0, 0], [None, 1]]
    assert settled("items", cells).warnings == []
    assert read("items", [{"a": "yes", "b": "N/A"}, {"a": "no", "b": 1}])[1] == [[1, None], [0, 1]]
    assert read("items", [["a", "b"], ["b"]])[0] == ["a", "b"]


def test_given_words_are_marks() -> None:
    given = {"true": ("passed", "x"), "false": ("failed", "")}
    assert read("items", ["passed", "failed", "", "x"], **given) == (["head"], [[1], [0], [0], [1]])


def test_a_configured_item_takes_yes_and_no() -> None:
    assert read("items", ["yes", "no"], ("greets",)) == (["greets"], [[1], [0]])


def test_few_other_words_among_yes_and_no_do_not_become_items() -> None:
    assert settled("items", ["yes"] * 3 + ["no"] * 3 + ["maybe"]).column.cells.marks


@pytest.mark.parametrize(
    ("most", "odd"),
    [
        ([["yes", "no", "yes"], ["no", "no", "yes"]], ["no", "maybe", "yes"]),
        ([["1", "0", "1"], ["0", "0", "1"]], ["1", "0"]),
        (["1|0|1", "0|0|1"], "1|0"),
        ([["yes", "no"], ["no", "yes"]], ["yes"]),
    ],
)
@pytest.mark.parametrize("configured", [False, True])
def test_one_odd_row_makes_no_names_of_marks(most: list[Any], odd: Any, configured: bool) -> None:
    size = most[0].count("|") + 1 if isinstance(most[0], str) else len(most[0])
    labels = ("greets", "names", "ends")[:size] if configured else None
    found = settled("items", [*most * 20, odd], labels)
    assert found.column.cells.marks
    space = infer_space(found.column, found.labels, max_bad_fraction=0.1)
    reader = ItemReader(found.column, space)
    assert space.size == size
    assert reader.encode(most[0]).tolist() == [float(word in ("yes", "1")) for word in parts_of(most[0])]
    with pytest.raises(RowError):
        reader.encode(odd)


def parts_of(cell: Any) -> list[str]:
    return cell.split("|") if isinstance(cell, str) else cell


def test_lists_that_are_no_marks_among_marks_are_told() -> None:
    (words,) = settled("items", [["yes", "no"], ["no", "yes"], ["no", "maybe"]]).warnings
    assert '1 of 3 lists, such as ["no", "maybe"], are no marks' in words
    (words,) = settled("items", [["yes"], ["no"], ["sw"], ["en", "sw"], ["fr"]]).warnings
    assert '"yes", "no" are read as names of items' in words


def test_a_blank_between_separators_keeps_the_place_of_its_mark() -> None:
    cells = ["1||0", "|1|0", "0|1|", "1|0|1", "0|1|1"]
    marks = [[1, None, 0], [None, 1, 0], [0, 1, None], [1, 0, 1], [0, 1, 1]]
    assert read("items", cells)[1] == marks
    assert read("items", cells, separator="|")[1] == marks
    assert read("items", cells, ("a", "b", "c"))[1] == marks
    assert settled("items", cells).warnings == []


@pytest.mark.parametrize("cells", [["yes|no", "no|yes"], ["1;0", "0;1"], ["1,1", "0,1"]])
def test_separated_marks_are_read_where_the_items_are_listed(cells: list[str]) -> None:
    named = read("items", cells, ("a", "b"))
    assert named == (["a", "b"], read("items", cells)[1])


def test_two_names_of_which_each_row_has_one_are_told() -> None:
    (words,) = settled("items", ["done", "omitted", "done", "omitted"]).warnings
    assert 'each row is "done" or "omitted", which are learnt as two items' in words
    assert settled("items", ["Pass", "Fail", "Pass"]).column.cells.marks
    assert settled("items", ["done", "omitted"], ("done", "omitted")).warnings == []


@pytest.mark.parametrize(("yes", "no"), [("T", "N"), ("y", "f"), ("ja", "no")])
def test_yes_and_no_that_do_not_go_together_are_told(yes: str, no: str) -> None:
    (words,) = settled("items", [yes, no, yes]).warnings
    assert f'"{yes}" are read as yes and "{no}" as no; set `true_values`' in words
    assert settled("items", [yes, no, yes], true=(yes,), false=(no,)).warnings == []


def test_names_that_could_be_answers_are_told() -> None:
    cells = ["no", "si", "en", "fr", "de", "sw"]
    found = settled("items", cells)
    assert not found.column.cells.marks
    assert found.warnings == [
        'head \'task.head\': "si", "no" are read as names of items, as most cells are names; if they are answers, '
        "correct the others; if they are names, list the items in `labels`"
    ]
    assert settled("items", cells, tuple(cells)).warnings == []


def test_blank_beside_yes_alone_is_told() -> None:
    (words,) = settled("items", ["yes", "", "yes"]).warnings
    assert "1 blank cells are read as missing labels, and all others as yes" in words
    assert settled("items", ["yes", "", "no"]).warnings == []


@pytest.mark.parametrize("mark", ["|", "; ", ", "])
def test_a_cell_of_several_labels_is_several_and_a_blank_one_none(mark: str) -> None:
    cells = [mark.join(labels) for labels in (["a", "b"], ["b"], ["a", "c"], ["c", "b"], [], ["a"])] + ["N/A"]
    names, marks = read("items", cells)
    assert names == ["a", "b", "c"]
    assert marks == [[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0], None]
    warnings = settled("items", cells).warnings
    assert len(warnings) == 3
    assert f"are read as several labels parted by '{mark.strip()}' (3 labels in all)" in warnings[1]
    assert f"set `label_separator: '{mark.strip()}'`" in warnings[1]
    assert "1 blank cells are read as none of the labels" in warnings[2]


def test_what_is_pinned_is_not_told() -> None:
    cells = ["a|b", "b", "", "a"]
    assert settled("items", cells, separator="|", missing=("n/a",)).warnings == []
    assert read("items", cells, separator="|", missing=("n/a",))[1] == [[1, 1], [0, 1], [0, 0], [1, 0]]
    assert read("items", cells, separator="|", missing=("",))[1] == [[1, 1], [0, 1], None, [1, 0]]
    assert read("items", cells, separator="")[0] == ["a", "a|b", "b"]


@pytest.mark.parametrize(
    "cells",
    [
        ["fees, charges", "staff", "fees, charges", "long queues, delays"],
        ["Nairobi, Kenya", "Kisumu, Kenya", "Mombasa, Kenya", "Kenya"],
    ],
)
def test_a_label_that_holds_a_comma_stays_whole_and_is_told(cells: list[str]) -> None:
    assert read("items", cells)[0] == sorted(set(cells))
    (words,) = settled("items", cells).warnings
    assert "are read as one label each, though ',' may part several; set `label_separator`" in words


def test_configured_labels_tell_what_parts_them() -> None:
    names = ("fees, charges", "staff", "delay")
    assert read("items", ["fees, charges|delay", "staff"], names)[1] == [[1, 0, 1], [0, 1, 0]]
    assert read("items", ["staff, delay", "fees, charges"], names)[1] == [[0, 1, 1], [1, 0, 0]]


def test_classes_that_look_like_several_labels_are_told_and_stay() -> None:
    cells = ["a|b", "b|c", "a", "c", "b"]
    assert read("class", cells)[1] == cells
    (words,) = settled("class", cells).warnings
    assert "look like several labels parted by '|'" in words
    assert "multi_label_classification" in words


def test_blank_cells_of_names_are_told() -> None:
    (words,) = settled("items", ["a", "b", "c", ""]).warnings
    assert "1 blank cells are read as missing labels; where they mean that none of the labels holds" in words
    assert read("items", ["a", "b", ""])[1][2] is None
    assert read("items", ["a", "b", ""], missing=("n/a",))[1][2] == [0, 0]


def test_lists_and_marks_are_settled_without_a_word() -> None:
    for cells in ([["a"], []], [[1, 0, None]], [1, 0], ["1", "0"], [{"a": 1}], ["[1, 0]", '["a"]'], ["[broken"]):
        found = settled("items", cells)
        assert found.warnings == []
        assert found.labels == cells
    assert (CellReading().true, CellReading().false) == (YES, NO)
