"""The lines of a stream that may stay open, in batches that are bounded in rows and in time."""

from __future__ import annotations

import io
import json
import os
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from jenga.errors import ConfigError
from jenga.refinery.chunks import HEAD_BYTES
from jenga.refinery.sources import MAX_ROW_BYTES
from jenga.refinery.streams import is_plain
from jenga.refinery.zeek import LogLineError, LogReader, is_log
from jenga.rows.given import LineBatch

_READ_BYTES = 1 << 16
_BOM = b"\xef\xbb\xbf"
_JSON = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True)
class Limits:
    """How many lines are answered together at most, and how long the first of them may wait for others, in seconds."""

    rows: int = 2048
    wait_s: float = 0.1

    def __post_init__(self) -> None:
        if self.rows < 1 or not self.wait_s >= 0:
            raise ConfigError(
                f"limits of a batch: got {self.rows} rows and {self.wait_s:g} s; allowed: 1 or more, 0 or more"
            )


LIMITS = Limits()


class LineBatches:
    """Iterates over the lines of `stream`; an instance reads a stream once.

    `whole`: whether it holds no lines: a JSON array, or what is compressed; `rest` gives it then.
    """

    def __init__(self, stream: BinaryIO, limits: Limits = LIMITS) -> None:
        self._stream, self._limits = stream, limits
        try:
            # Not through the stream's own buffer, of which nobody can wait for more.
            self._file: int | None = stream.fileno()
        except (OSError, io.UnsupportedOperation):
            self._file = None
        self._open = True
        self._head = self._begin()
        start = self._head.lstrip()
        self.whole = start.startswith(b"[") or not is_plain(start)
        self._log = LogReader() if is_log(start) else None
        self._json = start.startswith(b"{") or self._log is not None

    @property
    def first_line(self) -> str:
        """The first line of plain texts, as far as it is there; '' of JSON."""
        return "" if self.whole or self._json else self._head.lstrip().split(b"\n")[0].decode("utf-8", "replace")

    def rest(self) -> bytes:
        """Return all that is there, once it ends."""
        parts = [self._head]
        while self._open:
            parts.append(self._read())
        return b"".join(parts)

    def __iter__(self) -> Iterator[LineBatch]:
        cutter = LineCutter()
        cutter.add(self._head)
        first, due = 1, time.monotonic() + self._limits.wait_s
        while self._open or cutter.lines:
            if not cutter.lines:
                cutter.add(self._read())
                due = time.monotonic() + self._limits.wait_s
            elif self._open and len(cutter.lines) < self._limits.rows and self._waits(due - time.monotonic()):
                cutter.add(self._read())
            else:
                lines, cutter.lines = cutter.lines[: self._limits.rows], cutter.lines[self._limits.rows :]
                yield self._batch(lines, first)
                first += len(lines)
                due = time.monotonic() + self._limits.wait_s
            if not self._open:
                cutter.end()

    def _batch(self, lines: list[tuple[bytes, bool]], first: int) -> LineBatch:
        """Return lines as rows: those of a log of Zeek's as JSON, its header's as blank ones."""
        refused = {at: "the line is too long" for at, (_, is_cut) in enumerate(lines) if is_cut}
        rows = [line for line, _ in lines]
        if self._log is not None:
            for at, line in enumerate(rows):
                try:
                    row = None if at in refused else self._log.row(line)
                except LogLineError as error:
                    refused[at] = f"the line does not fit its log ({error})"
                else:
                    rows[at] = line if at in refused else b"" if row is None else _JSON.encode(row).encode()
        return LineBatch(rows, first, self._json, refused)

    def _begin(self) -> bytes:
        """Return the first bytes, with one among them that is not blank if there is any."""
        found = b""
        while self._open and not found.strip():
            found += self._read()
        return found.removeprefix(_BOM)

    def _read(self) -> bytes:
        """Return the next bytes, as soon as there are some; none where the stream ends."""
        found = self._stream.read(_READ_BYTES) if self._file is None else os.read(self._file, _READ_BYTES)
        self._open = bool(found)
        return found

    def _waits(self, seconds: float) -> bool:
        """Return whether more bytes (or the end) come within `seconds`."""
        return self._file is None or bool(select.select([self._file], [], [], max(seconds, 0.0))[0])


class LineCutter:
    """Cuts lines out of bytes. `lines`: those that are whole, and whether only the beginning of one was kept."""

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bool]] = []
        self._begun = bytearray()
        self._is_long = False

    def add(self, content: bytes) -> None:
        *whole, last = content.split(b"\n")
        for part in whole:
            self._grow(part)
            self._close()
        self._grow(last)

    def end(self) -> None:
        """Take the last line as whole, whether or not a line break follows."""
        if self._begun:
            self._close()

    def _grow(self, part: bytes) -> None:
        if not self._is_long:
            self._begun += part
            self._is_long = len(self._begun) > MAX_ROW_BYTES
        if self._is_long:
            del self._begun[HEAD_BYTES:]

    def _close(self) -> None:
        self.lines.append((bytes(self._begun), self._is_long))
        self._begun, self._is_long = bytearray(), False
