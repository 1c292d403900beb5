"""Cells of columns as the content of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from jenga.errors import DataError
from jenga.labels.column import RowError
from jenga.rows.content import CellColumns, Cells, Content
from jenga.rows.raw import RawRows

SPEC = CellColumns((("audio", ("audio", "sound")), ("speaker", ("speaker",))))


def raw(*rows: dict[str, Any]) -> RawRows:
    return RawRows("rows.jsonl", list(rows), list(range(1, len(rows) + 1)))


def read(spec: CellColumns, *rows: dict[str, Any]) -> Content:
    reader = spec.reader(raw(*rows), learning=True, per_word=False)
    return reader.collect([reader.read(row) for row in rows])


def test_cells_stand_under_the_names_of_the_modality_as_they_are() -> None:
    found = read(SPEC, {"sound": "a.wav", "speaker": {"age": 7}}, {"sound": "b.wav", "speaker": 0})
    assert found == Cells({"audio": ["a.wav", "b.wav"], "speaker": [{"age": 7}, 0]})


def test_the_likeliest_column_wins() -> None:
    assert read(SPEC, {"sound": "b", "audio": "a", "speaker": "x"}) == Cells({"audio": ["a"], "speaker": ["x"]})


def test_rows_have_neither_texts_nor_words_nor_answers() -> None:
    found = read(SPEC, {"audio": "a", "speaker": "x"})
    assert (found.texts, found.words, found.as_words, found.answers) == ((), None, (), ())


def test_taken_and_joined_cells_stay_together() -> None:
    found = read(SPEC, *({"audio": f"{at}.wav", "speaker": at} for at in range(3)))
    back = type(found).joined([found.take(np.array([2, 0])), found.take(np.array([1]))])
    assert back == Cells({"audio": ["2.wav", "0.wav", "1.wav"], "speaker": [2, 0, 1]})
    assert found.take(np.array([], np.int64)) == Cells({"audio": [], "speaker": []})


def test_rows_with_the_same_cells_have_the_same_key() -> None:
    rows = [{"audio": [1, 2], "speaker": "x"}, {"audio": [1, 2], "speaker": "y"}, {"audio": [1, 2], "speaker": "x"}]
    keys = read(SPEC, *rows).keys()
    assert keys[0] == keys[2] != keys[1]
    assert len(set(keys)) == 2
    assert list(Cells().keys()) == [], "of rows without cells nothing is known"


@pytest.mark.parametrize("empty", [{}, {"speaker": None}, {"speaker": " "}])
def test_a_row_without_a_cell_cannot_be_used(empty: dict[str, Any]) -> None:
    reader = SPEC.reader(raw({"audio": "a", "speaker": "x"}), learning=True, per_word=False)
    with pytest.raises(RowError, match="column 'speaker' is empty"):
        reader.read({"audio": "a", **empty})


def test_a_missing_column_is_told_with_the_near_one_and_what_to_set() -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl: audio: .*did you mean 'sounds'\?.*Set columns\.audio of the"):
        read(SPEC, {"sounds": "a", "speaker": "x"})
    assert read(SPEC) == Cells({"audio": [], "speaker": []}), "a file without rows lacks no column"


def test_what_was_found_is_read_by_the_columns_that_are_there() -> None:
    found = SPEC.found(raw({"sound": "a", "speaker": "x"}))
    assert found == CellColumns((("audio", ("sound",)), ("speaker", ("speaker",))))
    assert SPEC.found(raw({"sound": "a"})) is None
    assert SPEC.wanted == ("audio", "speaker")


@dataclass(frozen=True)
class Names(CellColumns):
    def cell(self, name: str, value: Any, raw: RawRows) -> Any:
        if not isinstance(value, str):
            raise RowError(f"{name} is no name")
        return value.upper()


def test_a_subclass_looks_at_cells_as_they_are_read() -> None:
    spec = Names(SPEC.columns)
    assert read(spec, {"audio": "a", "speaker": "x"}) == Cells({"audio": ["A"], "speaker": ["X"]})
    with pytest.raises(RowError, match="speaker is no name"):
        read(spec, {"audio": "a", "speaker": 3})
    assert type(spec.found(raw({"audio": "a", "speaker": "x"}))) is Names


def test_by_default_rows_are_read_later_as_they_were_learnt_and_never_from_a_bare_value() -> None:
    given: Sequence[object] = ("text", b"bytes", 1)
    assert SPEC.settled(raw({"sound": "a", "speaker": "x"})) is SPEC
    assert [SPEC.given(value) for value in given] == [None] * 3
    SPEC.check([])
