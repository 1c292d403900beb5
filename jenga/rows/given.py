"""Rows that come from no file: from a caller's hand, or from standard input."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jenga.errors import DataError
from jenga.rows.content import ContentSpec
from jenga.rows.raw import RawRows
from jenga.rows.storage import conversion

GIVEN = "the given rows"
"""Name in messages of rows that come from no file."""
STANDARD_INPUT = "standard input"

RowsLike = str | bytes | Mapping[str, Any] | Sequence[str] | Sequence[bytes] | Sequence[Mapping[str, Any]] | RawRows


def given_rows(rows: RowsLike, contents: Sequence[ContentSpec]) -> RawRows:
    """Return bare contents, such as texts, or mappings as rows numbered from 1; a bare one fills its column of each.

    Raises TypeError for anything else.
    """
    if isinstance(rows, RawRows):
        return rows
    given: object = rows
    if not isinstance(given, Sequence):
        advice = "give a text, or a list of texts or of mappings (for a table: table.to_dict('records'))"
        raise TypeError(f"rows: got {type(rows).__name__}; {advice}")
    raw = RawRows(GIVEN)
    for number, row in enumerate([rows] if isinstance(rows, str) else rows, start=1):
        filled = [content.given(row) for content in contents] if isinstance(row, str) else []
        columns = {name: cell for each in filled if each is not None for name, cell in each.items()}
        raw.add(number, columns or (dict(row) if isinstance(row, Mapping) else row))
    return raw


def read_stream(content: bytes) -> RawRows | list[str]:
    """Return standard input as rows where it begins like JSON, else as one text a line, blank ones too.

    Raises DataError where it is not UTF-8, or begins like JSON and is none.
    """
    raw = RawRows(STANDARD_INPUT)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{raw.file}: not UTF-8 (its byte number {error.start}); {conversion(content)}") from None
    if text.lstrip()[:1] == "[":
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{raw.file}: begins like a JSON list, but is none ({error})") from None
        for number, row in enumerate(rows, start=1):
            raw.add(number, row)
        return raw
    # Not str.splitlines: U+2028 and the like may stand inside a line.
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    if text.lstrip()[:1] != "{":
        return lines
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                raw.add(number, json.loads(line))
            except (ValueError, RecursionError) as error:
                raw.refuse(number, f"the line is not JSON ({error})", line)
    return raw


def refuse_table(rows: RawRows | list[str], columns: set[str]) -> None:
    """Raise DataError where plain lines begin with a header that names a column of texts."""
    header = rows[0] if isinstance(rows, list) and rows else ""
    for delimiter in ",\t;":
        named = columns & {name.strip().strip('"') for name in header.split(delimiter)}
        if delimiter in header and named:
            raise DataError(
                f"{STANDARD_INPUT}: the first line is the header of a table with the column '{min(named)}', but only "
                "JSON and plain texts are read there; give the table as a .csv or .tsv file"
            )
