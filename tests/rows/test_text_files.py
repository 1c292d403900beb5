"""JSON, JSON Lines and plain text. (Every form of file, and what breaks: test_readers.py.)"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.rows.raw import RawRows
from jenga.rows.text_files import json_lines, read_json, read_lines, read_text


@pytest.mark.parametrize(
    ("read", "text", "rows"),
    [
        (read_lines, '{"a": 1}\n\n{"a": 2}', [(1, {"a": 1}), (3, {"a": 2})]),
        (read_json, '[{"a": 1}, {"a": 2}]', [(1, {"a": 1}), (2, {"a": 2})]),
        (read_json, '{"version": 1, "data": [{"a": 1}]}', [(1, {"a": 1})]),
        (read_json, '{"a": 1}\n{"a": 2}', [(1, {"a": 1}), (2, {"a": 2})]),
        (read_text, "a\r\n\nb\u2028c\n", [(1, {"text": "a"}), (3, {"text": "b\u2028c"})]),
    ],
)
def test_rows_come_with_their_numbers(
    read: Callable[[RawRows, str], None], text: str, rows: list[tuple[int, Any]]
) -> None:
    raw = RawRows("f")
    read(raw, text)
    assert list(zip(raw.numbers, raw.rows, strict=True)) == rows


def test_json_that_holds_no_rows_is_refused_with_its_keys() -> None:
    with pytest.raises(DataError, match="an object with the keys a, b, not rows"):
        read_json(RawRows("f"), '{"a": 1, "b": [1]}')


@pytest.mark.parametrize(
    "line",
    [
        '{"a": 1}', ' {"a": 1}', '{"a": 1} ', '{"a": 1}\r', '{"a": 1}\t\r', '{"a": 1} {"a": 2}', '{"a": 1}x', '{"a": 1',
        "", "  ", "\ufeff{}", "NaN", "[1, -Infinity]", "3", '"text"', '{"a": 1, "a": 2}', '{"a": "\\ud83d"}',
        "[" * 100_000, f"{10**30}", "nul", "\u2028", '{"a": "tab\t"}', "1" * 5000,
    ],
)  # fmt: skip
def test_a_line_holds_what_json_says_it_does(line: str) -> None:
    refused: list[int] = []
    found = list(json_lines(["{}", line], lambda number, *_: refused.append(number)))[1:]
    try:
        wanted = [json.loads(line)] if line.strip() else []
    except (ValueError, RecursionError):
        assert (found, refused) == ([], [2])
        return
    assert (repr(found), refused) == (repr([(2, each) for each in wanted]), [])
