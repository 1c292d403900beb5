import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest

from jenga.errors import DataError
from jenga.inference.reading import ASIDE, Given, Plan, Reader, Reasons, carried, names, pieces, readings, shown
from jenga.labels.column import HeadColumn
from jenga.modalities.text.columns import TextColumns
from jenga.rows.given import given_rows
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import RawRows
from jenga.rows.spooled import Spool


def spec(task: str, *text: str, pair: str | None = None, max_length: int = 8) -> SourceSpec:
    head = HeadColumn(task, "head", "class", ("label",), None, None)
    return SourceSpec(
        name=task, train=("a.jsonl",), valid=(), test=(), id="id", heads=(head,),
        content=TextColumns(text, pair, max_length),
    )  # fmt: skip


def raw(*rows: dict[str, Any]) -> RawRows:
    return given_rows(list(rows), [])


def tasks(*specs: SourceSpec, rows: RawRows) -> list[tuple[str, ...]]:
    return [reading.tasks for reading in readings(rows, specs)]


def test_tasks_that_read_one_column_alike_share_a_reading_whatever_files_they_were_trained_on() -> None:
    specs = spec("a", "text", "tokens"), replace(spec("b", "tokens", "text"), train=("b.jsonl",))
    assert tasks(*specs, rows=raw({"text": "x"})) == [("a", "b")]


def test_tasks_that_cut_at_other_lengths_are_read_apart() -> None:
    specs = spec("a", "text"), spec("b", "text", max_length=9)
    assert tasks(*specs, rows=raw({"text": "x"})) == [("a",), ("b",)]


def test_task_whose_columns_are_missing_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    specs = spec("a", "text"), spec("b", "text", pair="answer")
    assert tasks(*specs, rows=raw({"text": "x"})) == [("a",)]
    assert "no column 'text', 'answer', so there is nothing for b" in caplog.text
    assert tasks(*specs, rows=raw({"text": "x", "answer": "y"})) == [("a",), ("b",)]


def test_rows_that_no_task_can_read_are_refused() -> None:
    with pytest.raises(DataError, match="Columns found: body"):
        readings(raw({"body": "x"}), [spec("a", "text")])


def test_text_fills_the_columns_of_all_tasks() -> None:
    specs = spec("a", "text", "tokens"), spec("b", "tokens", "text"), spec("c", "body")
    assert given_rows("x", [each.content for each in specs]).rows == [{"text": "x", "body": "x"}]


def test_rows_are_taken_by_number_around_the_unusable() -> None:
    rows = raw({"text": "x"}, {"text": ""}, {"text": ["y", "z"]})
    [reading] = readings(rows, [spec("a", "text")])
    parsed = Reader(rows, reading).parse(rows)
    assert [parsed.taken(numbers).numbers for numbers in ([3], [1], [1, 3], [])] == [[3], [1], [1, 3], []]
    assert list(parsed.bad) == [2]
    assert parsed.rows.content.as_words == [False, True]


def test_names_are_ids_or_numbers_bad_rows_included() -> None:
    rows = RawRows("file", rows=[{"id": 7}, {"id": None}], numbers=[1, 3])
    rows.refuse(2, "broken", "{")
    assert names(rows, "id") == {1: "7", 2: "2", 3: "3"}
    assert list(names(rows, "id")) == [1, 2, 3]


def test_a_piece_without_the_column_holds_bad_rows_and_no_missing_column() -> None:
    rows = raw({"text": "x"}, {"other": "y"}, {"other": "z"})
    [reading] = readings(rows, [spec("a", "text")])
    reader = Reader(rows, reading)
    assert [sorted(reader.parse(piece).bad) for piece in pieces(rows, 2)] == [[2], [3]]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("bad", [[], [1], [9], [1, 4, 9], [9, 4]])
@pytest.mark.parametrize("good", [[], [2], [2, 3, 5, 6, 8]])
def test_pieces_hold_every_row_once_in_order(size: int, bad: list[int], good: list[int]) -> None:
    rows = RawRows("file", rows=[{"id": number} for number in good], numbers=good)
    for number in bad:
        rows.refuse(number, "broken", "{")
    found = list(pieces(rows, size))
    assert [number for piece in found for number in names(piece, "id")] == sorted([*good, *bad])
    assert all(len(piece.rows) <= size for piece in found)
    assert [row["id"] for piece in found for row in piece.rows] == good


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        (float("nan"), None),
        (np.float32("inf"), None),
        (np.int64(3), 3),
        (1.5, 1.5),
        (True, True),
        (b"RIFF", "4 bytes"),
        (Spool().keep(b"RIFF"), "4 bytes"),
        ({"path": "a.wav", "bytes": b"RIFF"}, {"path": "a.wav", "bytes": "4 bytes"}),
        ({"array": np.zeros((2, 3)), "sampling_rate": 8000}, {"array": "2 x 3 numbers", "sampling_rate": 8000}),
        ([1, (np.nan, "a")], [1, [None, "a"]]),
        (date(2020, 1, 2), "2020-01-02"),
        (Decimal("1.50"), "1.50"),
    ],
)
def test_a_cell_that_an_answer_carries_over_is_what_json_has(cell: Any, wanted: Any) -> None:
    assert shown(cell) == wanted
    json.dumps(shown(cell), allow_nan=False)


def test_each_reason_of_a_row_is_told_once_in_its_order() -> None:
    reasons = Reasons({2: "broken"})
    reasons.add([(1, "blank"), (2, "broken"), (2, "too long")])
    reasons.add(iter([(1, "blank")]))
    assert reasons.told() == {2: {"error": "broken; too long"}, 1: {"error": "blank"}}


def test_what_answers_carry_is_by_number_and_the_whole_row_apart() -> None:
    rows = raw({"a": {"b": 1}, "c": ["x"]}, {"a": 2})
    rows.refuse(9, "broken", "{")
    found = carried(rows, ["a.b"], whole=True)
    assert [dict(each.pop(ASIDE)) for each in found.values()] == [*rows.rows, {}]
    assert found == carried(rows, ["a.b"], whole=False) == {1: {"a.b": 1}, 2: {"a.b": None}, 9: {"a.b": None}}
    assert carried(rows, [], whole=False) == {}


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (b'{"a": {"b": 1}, "a": 2}', {"a": 2}),
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        (b"[1]", {}),
        (b'{"a": ', {}),
        (b"\xff", {}),
        (b"[" * 100_000, {}),
        (b'{"a": 1, "n": ' + b"9" * 5000 + b"}", {"a": 1, "n": "9" * 5000}),
        (b'{"n": ' + b"9" * 300 + b"}", {"n": int("9" * 300)}),
        (7, {}),
    ],
)
def test_a_row_is_read_as_it_was_given_when_somebody_looks(row: Any, wanted: dict[str, Any]) -> None:
    given = Given([None, row], 1)
    assert (dict(given), len(given), "a" in given) == (wanted, len(wanted), "a" in wanted)


def test_a_plan_takes_no_more_rows_along_than_show_how_they_are_read() -> None:
    def sent(rows: RawRows) -> tuple[Plan, Plan]:
        plan = Plan(rows, readings(rows, [spec("a", "text", "body")]))
        return plan, ForkingPickler.loads(ForkingPickler.dumps(plan))

    for at, size in ((0, 64), (100, 128), (999, 1000)):
        rows = raw(*({"body": "x"} for _ in range(at)), {"text": "y"}, *({} for _ in range(999 - at)))
        plan, other = sent(rows)
        assert (other.readings, len(other.rows.rows)) == (plan.readings, size)
        piece = rows.piece(slice(5), [])
        assert [reader.parse(piece).bad for reader in other.readers] == [
            reader.parse(piece).bad for reader in plan.readers
        ]
