"""Rows that cannot be used: what is kept of each, the file they go to, and when there are too many."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.errors import DataError, printable
from jenga.files import atomic_file
from jenga.refinery.chunks import HEAD_BYTES, RowChunk, TableChunk

ROWS_BEFORE_JUDGEMENT = 1000
"""Rows that must have been seen before a stream is stopped for its bad ones."""
_SHOWN = 3
_MISSING_FIELD = "missing_field"


@dataclass(frozen=True)
class QuarantineRecord:
    """A row that was set aside.

    `number`: its line, element or position, from 1. `byte_offset`: where the error lies in the (unpacked) file; for
    rows given one by one, in the row. `code`: see `jenga.kernels.refinery.error_codes`. `pointer`: JSON pointer of the
    error. `raw`: up to 500 bytes of the row; None where `redact` is set or the row has columns. `line`: of rows of a
    table, which a header stands above, their line, 0 where it is not known; None where `number` says all.
    """

    number: int
    byte_offset: int
    code: str
    pointer: str
    raw: bytes | None
    file: str
    line: int | None = None

    def __str__(self) -> str:
        at = f":{self.number if self.line is None else self.line}" if self.line != 0 else f": row {self.number}"
        place = f"{printable(self.file)}{at}" if self.file else f"row {self.number}"
        inside = f" at {printable(self.pointer)}" if self.pointer else ""
        byte = f" (byte {self.byte_offset})" if self.line is None else ""
        return f"{place}: {self.code.replace('_', ' ')}{inside}{byte}"

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON can hold it: bytes that are no UTF-8 become ``\\xNN``."""
        raw = None if self.raw is None else self.raw.decode("utf-8", "backslashreplace")
        return {
            name: value for name, value in {**vars(self), "raw": raw}.items() if name != "line" or value is not None
        }


def records_of(chunk: RowChunk, quarantine: NDArray[np.int64], plan: bytes, *, redact: bool) -> list[QuarantineRecord]:
    """Return the records of a chunk in the order of its rows.

    `quarantine` int64 ``(Q, 3)``: row, code number and byte in `chunk.data`, as the op gives them.
    """
    from jenga.kernels.refinery import error_codes, locate

    names = {number: name for number, (name, _) in error_codes().items()}
    records = []
    for index, code, position in quarantine.tolist():
        row = chunk.row(index)
        begin = int(chunk.row_offsets[index, 0])
        offset = position - begin if chunk.byte_offset is None else position + chunk.byte_offset
        pointer = locate(row, plan)[2]
        raw = None if redact else row[:HEAD_BYTES]
        records.append(QuarantineRecord(int(chunk.numbers[index]), offset, names[code], pointer, raw, chunk.file))
    return sorted([*records, *_refused_records(chunk, redact)], key=lambda record: record.number)


def table_records(chunk: TableChunk, missing: Sequence[tuple[int, str]], *, redact: bool) -> list[QuarantineRecord]:
    """Return the records of a chunk of columns in the order of its rows.

    `missing`: (row, path) of rows that lack a required field.
    """
    records = [
        QuarantineRecord(int(chunk.numbers[row]), 0, _MISSING_FIELD, pointer_of(path), None, chunk.file, 0)
        for row, path in missing
    ]
    return sorted([*records, *_refused_records(chunk, redact)], key=lambda record: record.number)


def _refused_records(chunk: RowChunk | TableChunk, redact: bool) -> list[QuarantineRecord]:
    is_table = isinstance(chunk, TableChunk)
    return [
        QuarantineRecord(
            each.number, each.byte_offset, each.code, "", None if redact else each.head, chunk.file,
            each.line if is_table else None,
        )
        for each in chunk.refused
    ]  # fmt: skip


def pointer_of(path: str) -> str:
    """Return the JSON pointer (RFC 6901) of a field's path, taken as one key."""
    return "/" + path.replace("~", "~0").replace("/", "~1")


class TooManyBadRowsError(DataError):
    """More rows are bad than a call allows. `records`: those of the chunk that was one too many, or none."""

    def __init__(self, message: str, records: Sequence[QuarantineRecord] = ()) -> None:
        super().__init__(message)
        self.records = list(records)


class BadRowLimit:
    """Counts rows and stops a call once too large a share of them is bad. `hint`: what to mend, if known."""

    def __init__(self, max_bad_fraction: float) -> None:
        self._limit = max_bad_fraction
        self.hint = ""
        self._first: list[QuarantineRecord] = []
        self._required: dict[str, int] = {}
        self.n_bad = 0
        self.n_rows = 0

    def add(self, n_kept: int, records: Sequence[QuarantineRecord], *, n_more: int = 0) -> None:
        """Count a chunk's rows, `n_more` of them bad and without a record.

        Raises TooManyBadRowsError, which names the first, where too many are bad by now.
        """
        self.n_rows += n_kept + len(records) + n_more
        self.n_bad += len(records) + n_more
        self._first += records[: _SHOWN - len(self._first)]
        for record in records:
            if record.code == _MISSING_FIELD:
                self._required[record.pointer] = self._required.get(record.pointer, 0) + 1
        if self.n_rows >= ROWS_BEFORE_JUDGEMENT:
            self.judge(records)

    def judge(self, records: Sequence[QuarantineRecord] = ()) -> None:
        """Raise TooManyBadRowsError, which takes `records` along, where too many of the rows seen are bad."""
        if self.n_bad <= self._limit * self.n_rows:
            return
        are = "row is" if self.n_rows == 1 else "rows are"
        head = f"{self.n_bad:,} of {self.n_rows:,} {are} bad, more than max_bad_fraction={self._limit:g} allows"
        fix = self.hint or "Mend the rows, or raise max_bad_fraction (0 to 1)"
        raise TooManyBadRowsError("\n".join([head, *self._reasons(), fix]), records)

    def refuse_all(self) -> None:
        """Raise DataError, which names the first bad rows, as for a call that needs a usable row and has none."""
        if not self.n_bad:
            raise DataError("there is no row to fit on")
        all_of = "the only row is" if self.n_bad == 1 else f"all {self.n_bad:,} rows are"
        raise DataError("\n".join([f"there is no row to fit on: {all_of} bad", *self._reasons(), self.hint]).rstrip())

    def _reasons(self) -> list[str]:
        lines = [f"  {record}" for record in self._first]
        if self.n_bad > len(self._first):
            lines.append(f"  and {self.n_bad - len(self._first):,} more")
        for pointer, count in self._required.items():
            name = pointer.removeprefix("/").replace("~1", "/").replace("~0", "~")
            rows = "1 row" if count == 1 else f"{count:,} rows"
            lacking = f"The required field '{printable(name)}' is missing in {rows}"
            lines.append(f"{lacking}; set required: false if it may be")
        return lines


@contextlib.contextmanager
def quarantine_file(path: str | os.PathLike[str] | None) -> Iterator[Any]:
    """Yield a function that writes records as JSON Lines to `path` (nowhere for None), in place once all is written.

    Where too many rows are bad they are what the file is for: it is kept then.
    """
    if path is None:
        yield lambda records: None
        return
    too_many: TooManyBadRowsError | None = None
    with atomic_file(Path(path)) as file:

        def write(records: Sequence[QuarantineRecord]) -> None:
            for record in records:
                line = json.dumps(record.to_dict(), ensure_ascii=False)
                file.write(line.encode("utf-8", "backslashreplace") + b"\n")

        try:
            yield write
        except TooManyBadRowsError as error:
            write(error.records)
            too_many = error
    if too_many is not None:
        raise too_many
