"""Rows from a caller's hand and from standard input."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pytest

from jenga.errors import DataError
from jenga.modalities.text.columns import TextColumns
from jenga.rows.content import CellColumns
from jenga.rows.given import given_rows, read_stream
from jenga.rows.raw import GIVEN, RawRows

TEXTS = TextColumns(("text", "tokens"))


def lines(content: bytes) -> list[tuple[int, Any]]:
    """The rows of standard input with their numbers."""
    found = read_stream(content)
    assert isinstance(found, RawRows)
    return list(zip(found.numbers, found.rows, strict=True))


# ----------------------------------------------------------------------------------------------------------- in hand


def test_texts_fill_the_column_of_each_content_and_are_numbered_from_one() -> None:
    raw = given_rows(["a", "b"], [TEXTS, TextColumns(("body",))])
    assert (raw.file, raw.numbers) == (GIVEN, [1, 2])
    assert raw.rows == [{"text": "a", "body": "a"}, {"text": "b", "body": "b"}]
    assert given_rows("a", [TEXTS]).rows == [{"text": "a"}]


def test_mappings_are_rows_as_they_are() -> None:
    row = {"text": "a", "n": 1}
    raw = given_rows([row], [TEXTS])
    assert raw.rows == [row]
    assert raw.rows[0] is not row, "the caller's own stays the caller's"


def test_what_is_no_row_keeps_its_number_among_the_bad_ones() -> None:
    given: Any = [{"text": "a"}, 3, ["b"], "c"]
    raw = given_rows(given, [TEXTS])
    assert raw.numbers == [1, 4]
    assert [(bad.number, bad.reason) for bad in raw.bad] == [
        (2, "the row is a number, not an object with columns"), (3, "the row is a list, not an object with columns"),
    ]  # fmt: skip


def test_a_text_that_no_content_can_take_is_a_bad_row() -> None:
    raw = given_rows(["a"], [CellColumns((("audio", ("audio",)),))])
    assert raw.rows == []
    assert raw.bad[0].reason == "the row is a string, not an object with columns"


def test_rows_that_were_read_already_stay_as_they_are() -> None:
    raw = RawRows("rows.jsonl", [{"text": "a"}], [7])
    assert given_rows(raw, [TEXTS]) is raw


@pytest.mark.parametrize("given", [{"text": "a"}, 3, None, iter(["a"]), np.zeros((2, 2))])
def test_anything_else_is_refused_with_what_to_give(given: Any) -> None:
    with pytest.raises(TypeError, match=rf"rows: got {type(given).__name__}; give a text, a list of texts"):
        given_rows(given, [TEXTS])


CELLS = {"text": ["a", "b", None], "kind": ["x", None, "y"], "n": [1, 2, 3]}
ROWS = [{"text": "a", "kind": "x", "n": 1}, {"text": "b", "kind": None, "n": 2}, {"text": None, "kind": "y", "n": 3}]


class Stream:
    """What is known only for handing its columns on as Arrow has it."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return pyarrow.table(CELLS).__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("table", [pandas.DataFrame(CELLS), polars.DataFrame(CELLS), pyarrow.table(CELLS), Stream()])
def test_the_rows_of_a_table_are_mappings(table: Any) -> None:
    raw = given_rows(table, [TEXTS])
    assert raw.rows == ROWS
    assert list(raw.numbers) == [1, 2, 3]


def test_a_table_of_pandas_may_hold_objects_of_several_types_and_nan_is_no_value() -> None:
    table = pandas.DataFrame({"text": ["a", float("nan")], "tags": [["O"], "x"], "n": [1.5, float("nan")]})
    assert given_rows(table, [TEXTS]).rows == [
        {"text": "a", "tags": ["O"], "n": 1.5},
        {"text": None, "tags": "x", "n": None},
    ]


@pytest.mark.parametrize("column", [pandas.Series(["a", "b"]), polars.Series(["a", "b"]), np.array(["a", "b"])])
def test_a_column_of_texts_is_texts(column: Any) -> None:
    assert given_rows(column, [TEXTS]).rows == [{"text": "a"}, {"text": "b"}]


# ---------------------------------------------------------------------------------------------------- standard input


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", []),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\r\nb", ["a", "b"]),
        (b"\xef\xbb\xbfa", ["a"]),
        ("a\u2028b\n".encode(), ["a\u2028b"]),
    ],
)
def test_plain_lines_are_texts(content: bytes, texts: list[str]) -> None:
    assert read_stream(content) == texts


def test_json_is_rows_by_line_or_by_element() -> None:
    rows = [{"text": "a"}, {"text": "b"}]
    assert lines(json.dumps(rows).encode()) == [(1, rows[0]), (2, rows[1])]
    assert lines(b'{"text": "a"}\n\n{"text": "b"}\n') == [(1, rows[0]), (3, rows[1])]


def test_what_is_no_row_is_set_aside_in_its_place() -> None:
    found = read_stream(b'{"text": "a"}\n{"text": \n[1]\n')
    assert isinstance(found, RawRows)
    assert found.numbers == [1]
    assert [bad.number for bad in found.bad] == [2, 3]
    assert found.bad[0].reason.startswith("the line is not JSON")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"caf\xe9\n", r"standard input: not UTF-8 \(its byte number 3\)"), (b"[1, ", "begins like a JSON list, but is")],
)
def test_what_cannot_be_read_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_stream(content)


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
def test_a_table_is_its_rows_and_that_is_told(mark: str, caplog: pytest.LogCaptureFixture) -> None:
    found = read_stream(f'id{mark} "text"\n1{mark}"a{mark} b"\n2\n'.replace(" ", "").encode(), {"text", "tokens"})
    assert isinstance(found, RawRows)
    assert found.rows == [{"id": "1", "text": f"a{mark}b"}]
    assert [bad.number for bad in found.bad] == [3]
    assert "is read as a table" in caplog.text


@pytest.mark.parametrize("text", ["hello, there\nyou", "id\ntext", "text\nhello", "the text, as it stands\nb"])
def test_lines_whose_first_is_no_header_with_a_column_of_texts_are_texts(text: str) -> None:
    assert read_stream(text.encode(), {"text", "tokens"}) == text.split("\n")


# ------------------------------------------------------------------------------------------------------------- packed


@pytest.mark.parametrize("content", [b"a\n\nb\n", b'{"text": "a"}\n', b"text,label\na,b\n"])
def test_packed_standard_input_is_read_as_what_it_unpacks_to(content: bytes) -> None:
    def read(content: bytes) -> Any:
        found = read_stream(content, ["text"])
        return found.rows if isinstance(found, RawRows) else found

    zstd = pyarrow.compress(content, codec="zstd", asbytes=True)
    assert read(gzip.compress(content)) == read(zstd) == read(content)


def test_packed_standard_input_that_is_cut_says_so() -> None:
    with pytest.raises(DataError, match="standard input: the gzip data is damaged or cut short"):
        read_stream(gzip.compress(b"a\nb\n" * 50)[:-9])
