"""Rows of JSON Lines or of a JSON array, cut out of windows over their bytes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jenga.errors import DataError
from jenga.refinery.chunks import HEAD_BYTES, Refused, RowChunk
from jenga.refinery.envelope import ENVELOPE_BYTES, may_be_envelope, rows_at, wrapped_rows
from jenga.refinery.streams import Windows
from jenga.refinery.zeek import is_log, log_chunks

BLANKS = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_NEWLINE = 10
_BLANK_BYTES = 64 << 20
"""Blanks around a row that are held while its end is awaited; more of them count as part of the row."""

Form: TypeAlias = Literal["lines", "array"]


def window_chunks(
    windows: Windows, file: str, chunk_bytes: int, max_row_bytes: int, *, records: str | None = None, n_threads: int = 1
) -> Iterator[RowChunk]:
    """Cut whole rows out of each window; what is left of it begins the next one. Lines of Zeek's logs become JSON.

    records: where the list of rows stands in the object that the bytes are. n_threads: those that find lines.
    """
    data, final, form, used = _begin(windows, chunk_bytes)
    if records is not None:
        yield _listed(windows, data, used, final, records, file)
        return
    cutter = _Cutter(form, file, max_row_bytes, n_threads)
    if is_log(data[used : used + HEAD_BYTES].tobytes()):
        yield from log_chunks(_cut(cutter, windows, data, used, final, chunk_bytes))
        return
    if form == "lines":
        data, final = _envelope(windows, data, used, final)
        if final and (rows := wrapped_rows(data[used:])) is not None:
            numbers = np.arange(1, len(rows) + 1)
            yield RowChunk(rows.data, rows.row_offsets, numbers, None, file)
            return
    yield from _cut(cutter, windows, data, used, final, chunk_bytes)


def _listed(windows: Windows, data: NDArray[np.uint8], used: int, final: bool, records: str, file: str) -> RowChunk:
    """Return the rows of the list at `records`, once all bytes are there."""
    while not final:
        if len(data) > ENVELOPE_BYTES:
            raise DataError(f"{file}: an object around a list of rows may have {ENVELOPE_BYTES >> 20} MiB; split it")
        data, final = windows.window(len(data), len(data))
    rows = rows_at(data[used:], records, file)
    return RowChunk(rows.data, rows.row_offsets, np.arange(1, len(rows) + 1), None, file)


def _cut(
    cutter: _Cutter, windows: Windows, data: NDArray[np.uint8], used: int, final: bool, chunk_bytes: int
) -> Iterator[RowChunk]:
    """Yield the rows of `data` from byte `used` on, and of the windows behind it."""
    while True:
        chunk, used = cutter.cut(data, used, final)
        yield chunk
        if final or cutter.is_broken:
            cutter.warn_of_open_array()
            return
        keep = len(data) - used
        cutter.position += used
        # More than was kept, so that a long row is not walked many times over.
        data, final = windows.window(keep, max(chunk_bytes, keep))
        used = 0


def _begin(windows: Windows, chunk_bytes: int) -> tuple[NDArray[np.uint8], bool, Form, int]:
    """Return the first window with a byte that is not blank, whether it is the last, the form, and where rows begin."""
    data, final = windows.window(0, max(chunk_bytes, len(_BOM)))
    while True:
        used = len(_BOM) if data[: len(_BOM)].tobytes() == _BOM else 0
        head = data[used : used + HEAD_BYTES].tobytes().lstrip(BLANKS)[:1]
        head = head or data[used:].tobytes().lstrip(BLANKS)[:1]
        if head or final:
            return data, final, "array" if head == b"[" else "lines", used
        data, final = windows.window(len(data), max(chunk_bytes, len(data)))


def _envelope(windows: Windows, data: NDArray[np.uint8], used: int, final: bool) -> tuple[NDArray[np.uint8], bool]:
    """Return the first window, and more of the bytes where they may be an envelope of rows that ends later."""
    while not final and len(data) < ENVELOPE_BYTES and may_be_envelope(data[used:].tobytes()):
        data, final = windows.window(len(data), len(data))
    return data, final


class _Cutter:
    """Cuts rows out of windows that follow one another. `position`: where the next window begins in the file."""

    def __init__(self, form: Form, file: str, max_row_bytes: int, n_threads: int) -> None:
        self._form, self._file, self._limit, self._n_threads = form, file, max_row_bytes, n_threads
        self._number = 1
        self._skip: _Skip | None = None
        self._is_closed = False
        self._is_cut = False
        self.position = 0
        self.is_broken = False

    def cut(self, data: NDArray[np.uint8], used: int, final: bool) -> tuple[RowChunk, int]:
        """Return the rows of `data` from byte `used` on that end in it, and where what is left begins."""
        if self._skip is not None:
            used = self._skip.over(data)
            if not self._skip.is_done:
                return self._no_rows(data), used
            self._skip = None
        if self._is_closed:
            return self._behind_the_array(data), len(data)
        chunk, taken = self._split(data[used:], self.position + used, final)
        used += taken
        begin = self._begin_of_too_long(data, used) if not final else None
        if begin is not None:
            self._refuse(chunk, begin - used + taken, "row_too_long")
            self._skip = _LineSkip() if self._form == "lines" else _ElementSkip()
            self._skip.over(data[begin:])
            used = len(data)
        return chunk, used

    def _no_rows(self, data: NDArray[np.uint8]) -> RowChunk:
        return RowChunk(data, np.empty((0, 2), np.int64), np.empty(0, np.int64), self.position, self._file)

    def _refuse(self, chunk: RowChunk, begin: int, code: str) -> None:
        assert chunk.byte_offset is not None
        head = chunk.data[begin : begin + HEAD_BYTES].tobytes()
        chunk.refused.append(Refused(self._number, chunk.byte_offset + begin, head, code))
        self._number += 1

    def _split(self, data: NDArray[np.uint8], position: int, final: bool) -> tuple[RowChunk, int]:
        import torch

        from jenga.kernels.refinery import split_rows

        found = split_rows(
            torch.from_numpy(data), form=self._form, final=final, opened=self._number > 1, max_row_bytes=self._limit,
            n_threads=self._n_threads,
        )  # fmt: skip
        offsets, too_long = found.row_offsets.numpy(), found.too_long.numpy()
        begins = np.concatenate([offsets[:, 0], too_long[:, 0]])
        if found.n_blank:
            ranks = np.searchsorted(np.flatnonzero(data[: found.consumed] == _NEWLINE), begins)
        else:
            ranks = np.empty(len(begins), np.int64)
            ranks[np.argsort(begins)] = np.arange(len(begins))
        numbers = self._number + ranks.astype(np.int64)
        refused = [
            Refused(number, position + begin, data[begin : begin + HEAD_BYTES].tobytes())
            for number, (begin, _) in zip(numbers[len(offsets) :].tolist(), too_long.tolist(), strict=True)
        ]
        chunk = RowChunk(data, offsets, numbers[: len(offsets)], position, self._file, found.n_blank, refused)
        self._number += len(begins) + found.n_blank
        self._is_closed = found.closed
        if found.broken_at >= 0:
            self.is_broken = True
            self._is_cut = _ends_in_array(data, found.broken_at)
            self._refuse(chunk, found.broken_at, self._code_of_break(data, found.broken_at))
        return chunk, found.consumed

    def _begin_of_too_long(self, data: NDArray[np.uint8], used: int) -> int | None:
        """Return where the row lies that begins behind `used` and is too long wherever it ends; None for no such row.

        Blanks around it do not count.
        """
        if len(data) - used <= self._limit:
            return None
        rest = data[used:].tobytes()
        row = rest.lstrip(BLANKS)
        if self._form == "array":
            row = row[row[:1] in (b"[", b",") :].lstrip(BLANKS)
        is_too_long = len(row.rstrip(BLANKS)) > self._limit or len(rest) > self._limit + _BLANK_BYTES
        return len(data) - len(row) if is_too_long else None

    def _code_of_break(self, data: NDArray[np.uint8], at: int) -> str:
        """Return what is wrong at byte `at`: an element that never ends may be too long before that."""
        is_long = len(data[at:].tobytes().rstrip(BLANKS)) > self._limit
        return "row_too_long" if is_long and _begins_element(data, at) else "array_structure"

    def warn_of_open_array(self) -> None:
        """Warn of an array that the bytes end in."""
        if self._is_cut or (self._form == "array" and self._skip is not None):
            from jenga.refinery.calls import level_of_caller

            place = f"{self._file}: " if self._file else ""
            warnings.warn(f"{place}the array is not closed; was it cut short?", stacklevel=level_of_caller())

    def _behind_the_array(self, data: NDArray[np.uint8]) -> RowChunk:
        chunk = self._no_rows(data)
        if rest := data.tobytes().lstrip(BLANKS):
            self.is_broken = True
            self._refuse(chunk, len(data) - len(rest), "array_structure")
        return chunk


def _begins_element(data: NDArray[np.uint8], at: int) -> bool:
    is_value = data[at : at + 1].tobytes() not in (b"", b",", b"]", b"}")
    return is_value and data[:at].tobytes().rstrip(BLANKS)[-1:] in (b"[", b",")


def _ends_in_array(data: NDArray[np.uint8], at: int) -> bool:
    """Whether an array is broken at byte `at` because nothing follows, or an element that never ends."""
    return not data[at:].tobytes().strip(BLANKS) or _begins_element(data, at)


class _LineSkip:
    """Passes over the rest of a line that is too long."""

    is_done = False

    def over(self, data: NDArray[np.uint8]) -> int:
        """Return where the line's end lies in `data`, its newline included; all of `data` where it has none."""
        found = data.tobytes().find(b"\n")
        self.is_done = found >= 0
        return found + 1 if self.is_done else len(data)


class _ElementSkip:
    """Passes over the rest of an array's element that is too long, by its quotes and brackets."""

    _INSIDE = re.compile(rb'["\\]')
    _OUTSIDE = re.compile(rb'["\[\]{},]')

    def __init__(self) -> None:
        self.is_done = False
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def over(self, data: NDArray[np.uint8]) -> int:
        """Return where the element ends in `data`; all of `data` where it goes on."""
        content = data.tobytes()
        at = 0
        while True:
            if self._escaped and at < len(content):
                self._escaped = False
                at += 1
            found = (self._INSIDE if self._quoted else self._OUTSIDE).search(content, at)
            if found is None:
                return len(content)
            at = found.end()
            mark = found[0]
            if mark == b"\\":
                self._escaped = True
            elif mark == b'"':
                self._quoted = not self._quoted
            elif mark in b"[{":
                self._depth += 1
            elif self._depth == 0:
                self.is_done = True
                return at - 1
            elif mark in b"]}":
                self._depth -= 1
                if self._depth == 0:
                    self.is_done = True
                    return at


_Skip: TypeAlias = _LineSkip | _ElementSkip
