"""Rows that come from no file: from a caller's hand, or from standard input."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jenga.errors import DataError
from jenga.rows.content import ContentSpec
from jenga.rows.raw import GIVEN, STANDARD_INPUT, RawRows
from jenga.rows.storage import conversion, packing_of, unpacked
from jenga.rows.tables import MARKS, read_table

logger = logging.getLogger(__name__)


class Table(Protocol):
    """A table of pandas, polars, Arrow or whatever else hands its columns on as Arrow has it (PyCapsule interface)."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule with a stream of record batches."""


RowsLike = (
    str | bytes | Mapping[str, Any] | Sequence[str] | Sequence[bytes] | Sequence[Mapping[str, Any]] | Table | RawRows
)


@dataclass(frozen=True)
class LineBatch:
    """Lines that follow one another on standard input, without their line breaks; the first has the number `first`.

    `json`: whether they are JSON, else plain texts; `refused`: why some of them are no rows, by their places. `file`:
    where they come from instead, for messages.
    """

    lines: Sequence[bytes]
    first: int
    json: bool
    refused: Mapping[int, str] = field(default_factory=dict)
    file: str = STANDARD_INPUT

    def whole(self, raw: RawRows) -> list[tuple[int, bytes]]:
        """Return lines with their numbers, but for those that are no rows, which `raw` refuses."""
        for at, reason in sorted(self.refused.items()):
            raw.refuse(self.first + at, reason, self.lines[at].decode("utf-8", "backslashreplace"))
        return [(self.first + at, line) for at, line in enumerate(self.lines) if at not in self.refused]

    def rows(self, contents: Sequence[ContentSpec]) -> RawRows:
        """Return the lines as rows; a blank one is none, but for a text."""
        raw = RawRows(self.file)
        for number, line in self.whole(raw):
            try:
                text = line.decode().removesuffix("\r")
            except UnicodeDecodeError as error:
                reason = f"not UTF-8 (its byte number {error.start}); {conversion(line)}"
                raw.refuse(number, reason, line.decode("utf-8", "backslashreplace"))
                continue
            if not self.json:
                raw.add(number, _filled(text, contents))
            elif text.strip():
                _add_json(raw, number, text)
        return raw


def _filled(text: str, contents: Sequence[ContentSpec]) -> Any:
    """Return the columns that a bare content fills; the content itself where it fills none."""
    filled = [columns for content in contents if (columns := content.given(text)) is not None]
    return {name: cell for columns in filled for name, cell in columns.items()} or text


def _add_json(raw: RawRows, number: int, line: str) -> None:
    try:
        raw.add(number, json.loads(line))
    except (ValueError, RecursionError) as error:
        raw.refuse(number, f"the line is not JSON ({error})", line)


def of_table(rows: object) -> object:
    """Return the rows of a table as mappings, and the values of a column or a 1-D array; anything else as it is.

    In a table of pandas NaN is a value that is not there.
    """
    found: Any = rows
    if hasattr(rows, "notna") and hasattr(rows, "columns"):
        # Columns of pandas may hold objects of several types, which Arrow's do not.
        return found.astype(object).where(found.notna(), None).to_dict("records")
    if type(rows).__name__ == "Series" and hasattr(rows, "to_list"):
        return found.to_list()
    if hasattr(rows, "__array_interface__") and found.ndim == 1:
        return found.tolist()
    if hasattr(rows, "__arrow_c_stream__"):
        import pyarrow

        return pyarrow.table(found).to_pylist()
    return rows


def given_rows(rows: RowsLike, contents: Sequence[ContentSpec]) -> RawRows:
    """Return bare contents, such as texts, or mappings as rows numbered from 1; a bare one fills its column of each.

    Rows may be a table, or one of its columns.

    Raises TypeError for anything else.
    """
    if isinstance(rows, RawRows):
        return rows
    given = of_table(rows)
    if not isinstance(given, Sequence):
        advice = "give a text, a list of texts or of mappings, or a table"
        raise TypeError(f"rows: got {type(rows).__name__}; {advice}")
    raw = RawRows(GIVEN)
    for number, row in enumerate([given] if isinstance(given, str) else given, start=1):
        if isinstance(row, str):
            raw.add(number, _filled(row, contents))
        else:
            raw.add(number, dict(row) if isinstance(row, Mapping) else row)
    return raw


def read_stream(content: bytes, columns: Collection[str] = ()) -> RawRows | list[str]:
    """Return standard input as rows where it begins like JSON or a table, else as one text a line, blank ones too.

    It may be packed, as files may. columns: where the content of rows may stand; the header of a table names one of
    them. Raises DataError where it is not UTF-8, is damaged, or begins like JSON and is none.
    """
    raw = RawRows(STANDARD_INPUT)
    content = unpacked(raw.file, content, packing_of(content))
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
        return _table(raw, text, columns) or lines
    for number, line in enumerate(lines, start=1):
        if line.strip():
            _add_json(raw, number, line)
    return raw


def _table(raw: RawRows, text: str, columns: Collection[str]) -> RawRows | None:
    """Return the rows of a table; None where the first line is no header of one."""
    if not is_header(text.lstrip().partition("\n")[0], columns):
        return None
    read_table(raw, text, usual=",")
    logger.warning("%s: is read as a table, as its first line names the column of a text", raw.file)
    return raw


def is_header(line: str, columns: Collection[str]) -> bool:
    """Return whether a line is the header of a table: it names one of `columns` beside others."""
    return any(mark in line and set(columns) & set(_names(line, mark)) for mark in MARKS)


def _names(header: str, mark: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([header], delimiter=mark), [])]
