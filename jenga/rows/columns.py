"""Columns of rows by dotted name: ``labels.opening`` is that very column, or ``opening`` inside ``labels``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from jenga.errors import printable, suggest
from jenga.labels.cells import is_missing
from jenga.labels.column import HeadColumn

# Columns in an error message come from this many first rows.
ROWS_LOOKED_AT = 1000


Row = TypeVar("Row", bound=Mapping[str, Any], covariant=True)


class KnownColumns(Sequence[Row]):
    """Rows that are asked which columns they may have before they are looked through."""

    @abstractmethod
    def may_have(self, column: str) -> bool:
        """Return whether some row may have dotted `column`; False: none has."""


def lookup(row: Mapping[str, Any], column: str) -> Any:
    """Return the cell at dotted `column`, None where there is none."""
    if column in row:
        return row[column]
    return _nested(row, column) if "." in column else None


def _nested(row: Mapping[str, Any], column: str) -> Any:
    head, _, rest = column.partition(".")
    inner = row.get(head)
    return lookup(inner, rest) if isinstance(inner, Mapping) else None


def _has(row: Mapping[str, Any], column: str) -> bool:
    if column in row:
        return True
    head, dot, rest = column.partition(".")
    inner = row.get(head) if dot else None
    return isinstance(inner, Mapping) and _has(inner, rest)


def first_cell(rows: Sequence[Mapping[str, Any]], column: str) -> Any:
    """Return the first cell of `column` that is not missing; None where all are."""
    if isinstance(rows, KnownColumns) and not rows.may_have(column):
        return None
    return next((cell for row in rows if not is_missing(cell := lookup(row, column))), None)


def find_column(rows: Sequence[Mapping[str, Any]], candidates: Iterable[str]) -> str | None:
    """Return the first of `candidates` that some row fills, else the first that some row has at all, else None."""
    candidates = [column for column in candidates if not isinstance(rows, KnownColumns) or rows.may_have(column)]
    for column in candidates:
        if first_cell(rows, column) is not None:
            return column
    return next((column for column in candidates if any(_has(row, column) for row in rows)), None)


def label_place(rows: Sequence[Mapping[str, Any]], head: HeadColumn) -> Callable[[Mapping[str, Any]], Any] | None:
    """Return what gets the cell with a head's labels from a row; None where `rows` lack its column.

    Of columns that are joined it is the list of their cells, and None where all of them are missing.
    """
    if not head.joined:
        column = find_column(rows, head.candidates)
        return None if column is None else lambda row: lookup(row, column)
    if find_column(rows, head.candidates) is None:
        return None

    def joined(row: Mapping[str, Any]) -> list[Any] | None:
        cells = [lookup(row, column) for column in head.candidates]
        return None if all(cell is None for cell in cells) else cells

    return joined


def absent_columns(files: Sequence[Sequence[Mapping[str, Any]]], head: HeadColumn) -> list[str]:
    """Return the columns of a head that none of `files` has; where one of several will do, all of them or none."""
    absent = [column for column in head.candidates if not any(find_column(rows, [column]) for rows in files)]
    return absent if head.joined or len(absent) == len(head.candidates) else []


def column_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of the first rows, in order of appearance; those of nested objects dotted."""
    names: dict[str, None] = {}
    for row in rows[:ROWS_LOOKED_AT]:
        for name, value in row.items():
            names[name] = None
            if isinstance(value, Mapping):
                names.update(dict.fromkeys(f"{name}.{inner}" for inner in value))
    return list(names)


def no_column(what: str, candidates: Sequence[str], rows: Sequence[Mapping[str, Any]], *, fix: str) -> str:
    """Return the words of an error: `what` has none of `candidates` in `rows`, and which columns there are."""
    found = column_names(rows)
    near = next((words for words in (suggest(name, found) for name in candidates) if words), ".")
    wanted = " or ".join(f"'{name}'" for name in candidates)
    columns = printable(", ".join(found[:30]))
    return f"{what}: the rows have no column {wanted}{printable(near)} Columns found: {columns}. {fix}"
