"""Tables: which mark parts the cells."""

from __future__ import annotations

import pytest

from jenga.errors import DataError
from jenga.rows.raw import RawRows
from jenga.rows.tables import find_delimiter, read_table


@pytest.mark.parametrize(
    ("text", "mark", "told"),
    [
        ("text,label\nHello; you,1\n", ",", False),
        ("text;label\nHello, you, there;1\nNo, thanks;0\n", ";", True),
        ("text\tlabel\nHello, you\t1\n", "\t", True),
        ("text|label\nHello, you|1\n", "|", True),
        ("text\nHello, you\n", ",", False),
        # Both marks part the header, but only one the rows.
        ("text,de;score\nHello;1\nNo, no, no;0\n", ";", True),
        ("text,a;b\nHello,1\n", ",", False),
        # Nothing tells which it is.
        ("text,a;b\nHello,1;2\n", ",", True),
        ('"a;b","c"\n"x","y"\n', ",", False),
        ("a;b\n1,5;2\n", ";", True),
    ],
)
def test_the_header_and_the_rows_show_the_mark_and_another_than_the_usual_one_is_told(
    text: str, mark: str, told: bool
) -> None:
    found, words = find_delimiter(text, ",")
    assert found == mark
    assert bool(words) is told
    assert ("data.delimiter" in words) is told


def test_a_given_mark_is_taken_and_nothing_is_told() -> None:
    raw = RawRows("f")
    read_table(raw, "a,b;c\n1,2;3\n", usual=",", given=";")
    assert (raw.rows, raw.told, raw.table) == ([{"a,b": "1,2", "c": "3"}], [], True)


def test_the_mark_that_excel_names_first_is_taken_and_lines_keep_their_numbers() -> None:
    raw = RawRows("f")
    read_table(raw, "sep=;\r\na;b\r\n1;2\r\n3\r\n", usual=",")
    assert (raw.rows, raw.numbers, raw.told) == ([{"a": "1", "b": "2"}], [3], [])
    assert str(raw.bad[0]) == "f:4: the row has 1 cells, the header 2, parted by ';'"


def test_columns_of_one_name_are_one_where_all_their_cells_are_the_same() -> None:
    raw = RawRows("f")
    read_table(raw, "n,m, n\n1,2,1\n,3,\n", usual=",")
    assert raw.rows == [{"n": "1", "m": "2"}, {"n": "", "m": "3"}]
    with pytest.raises(DataError, match="f:1: the header names a column twice: n, with different cells in line 3"):
        read_table(RawRows("f"), "n,m,n\n1,2,1\n1,3,2\n", usual=",")
