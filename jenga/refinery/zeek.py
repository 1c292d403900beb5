"""Zeek's own logs, tab-separated below a header of ``#`` lines, read as the objects that Zeek writes as JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from jenga.refinery.chunks import HEAD_BYTES, Refused, RowChunk

MARKS = (b"#separator ", b"#fields\t")
"""What such a log begins with; Zeek writes the first, tools that cut columns out may keep only the second."""
PATH_FIELD = "_path"
"""Where the name of the log stands, as Zeek's JSON streaming has it."""
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|\\)")
_LIST = re.compile(r"(?:set|vector|table)\[(.*)\]")
_BLANKS = re.compile(r" {2,}")

Convert: TypeAlias = Callable[[str], Any]


class LogLineError(ValueError):
    """A line that does not fit its log's header."""


def is_log(head: bytes) -> bool:
    """Whether bytes that begin with `head` are a log of Zeek's own form."""
    return head.lstrip().startswith(MARKS)


class LogReader:
    """Reads lines one after the other; headers may come again, as in logs that were rotated and joined.

    A field that is not set is no key of its row, as in Zeek's JSON.
    """

    def __init__(self) -> None:
        self._begin()
        self._names: list[str] = []
        self._converts: list[Convert] = []

    def _begin(self) -> None:
        self._separator, self._set_separator = "\t", ","
        self._empty, self._unset = "(empty)", "-"
        self._path = ""
        self._tail = 1

    def row(self, line: bytes) -> dict[str, Any] | None:
        """Return the row of a line; None of a header's and of a blank one. Raises LogLineError where it is none."""
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise LogLineError("not UTF-8") from None
        if text.startswith("#"):
            self._header(text)
            return None
        if not text:
            return None
        cells = self._cells(text)
        if len(cells) != len(self._names):
            told = (
                f"{len(cells)} cells, #fields names {len(self._names)}" if self._names else "no #fields line above it"
            )
            raise LogLineError(told)
        unset = self._unset
        row: dict[str, Any] = {PATH_FIELD: self._path} if self._path else {}
        for name, convert, cell in zip(self._names, self._converts, cells, strict=True):
            if cell != unset:
                row[name] = convert(cell)
        return row

    def _header(self, text: str) -> None:
        if text.startswith("#separator "):
            self._begin()
            self._separator = _unescaped(text.removeprefix("#separator ")) or "\t"
            return
        key, _, value = text.partition(self._separator)
        match key:
            case "#set_separator":
                self._set_separator = value or ","
            case "#empty_field":
                self._empty = value
            case "#unset_field":
                self._unset = value
            case "#path":
                self._path = "" if value == self._unset else value
            case "#fields":
                self._set_fields(value)
            case "#types":
                types = self._cells(value)
                if len(types) != len(self._names):
                    raise LogLineError(f"#types names {len(types)}, #fields {len(self._names)}")
                self._converts = [self._convert_of(each) for each in types]

    def _set_fields(self, value: str) -> None:
        names = value.split(self._separator)
        # IoT-23 adds its labels behind blanks, where a name has none.
        names[-1:] = last = _BLANKS.split(names[-1])
        self._tail = len(last)
        if repeated := [name for name in names if names.count(name) > 1]:
            raise LogLineError(f"#fields names '{repeated[0]}' twice")
        self._names, self._converts = names, [self._text] * len(names)

    def _cells(self, text: str) -> list[str]:
        cells = text.split(self._separator)
        if self._tail > 1:
            cells[-1:] = _BLANKS.split(cells[-1], self._tail - 1)
        return cells

    def _convert_of(self, kind: str) -> Convert:
        if found := _LIST.fullmatch(kind):
            element = self._convert_of(found[1])
            return lambda cell: self._list(cell, element)
        return {"bool": _flag, "count": _whole, "int": _whole, "port": _whole, "double": _number, "time": _number,
                "interval": _number}.get(kind, self._text)  # fmt: skip

    def _text(self, cell: str) -> str:
        return "" if cell == self._empty else _unescaped(cell)

    def _list(self, cell: str, element: Convert) -> list[Any]:
        if cell == self._empty:
            return []
        return [None if each == self._unset else element(each) for each in cell.split(self._set_separator)]


def log_chunks(chunks: Iterable[RowChunk]) -> Iterator[RowChunk]:
    """Yield the rows of a log, whose lines are those of `chunks`, as JSON; they keep the numbers of their lines."""
    from jenga.kernels.refinery import pack_rows

    reader = LogReader()
    for chunk in chunks:
        rows, numbers, refused = [], [], list(chunk.refused)
        for at, number in enumerate(chunk.numbers.tolist()):
            line = chunk.row(at)
            try:
                row = reader.row(line)
            except LogLineError:
                begin = int(chunk.row_offsets[at, 0]) + (chunk.byte_offset or 0)
                refused.append(Refused(number, begin, line[:HEAD_BYTES], "syntax"))
                continue
            if row is not None:
                rows.append(row)
                numbers.append(number)
        data, offsets = (each.numpy() for each in pack_rows(rows))
        yield RowChunk(data, offsets, np.array(numbers, np.int64), None, chunk.file, chunk.n_blank, refused)


def _unescaped(text: str) -> str:
    r"""Return text with its ``\xNN`` as bytes of UTF-8; as it is where that gives none, as Zeek's JSON has it."""
    if "\\" not in text:
        return text
    parts, end = [], 0
    for found in _ESCAPE.finditer(text):
        parts += [text[end : found.start()].encode(), bytes([int(found[1], 16)]) if found[1] else b"\\"]
        end = found.end()
    try:
        return b"".join([*parts, text[end:].encode()]).decode()
    except UnicodeDecodeError:
        return text


def _flag(cell: str) -> Any:
    return {"T": True, "F": False}.get(cell, cell)


def _whole(cell: str) -> Any:
    try:
        return int(cell)
    except ValueError:
        return cell


def _number(cell: str) -> Any:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return number if math.isfinite(number) else None
