"""Bytes that stand in rows, such as pictures in Parquet: in a file of their own instead of in memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from jenga.errors import DataError

_ROOMY = "/var/tmp"
"""Where temporary files may be large; ``/tmp`` is in memory on some machines."""


_LEAST = 512
"""Bytes below which a place costs as much as they do."""


class Spool:
    """A temporary file without a name, gone with the last process that has it open; forks read it too."""

    def __init__(self) -> None:
        """Raises DataError where there can be no such file."""
        self.folder = os.environ.get("TMPDIR") or (_ROOMY if os.access(_ROOMY, os.W_OK) else tempfile.gettempdir())
        with self._room(), tempfile.TemporaryFile(dir=self.folder, buffering=0) as file:
            self._number = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._number)
        self._size, self._lock = 0, threading.Lock()

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.folder}: no room for the bytes that stand in the rows ({error.strerror}); free some, or set "
                "TMPDIR to a folder that can be written, on a larger disk"
            ) from error

    def keep(self, content: bytes) -> Spooled:
        """Write `content` behind what is there. Raises DataError where there is no room for it."""
        with self._lock, self._room():
            at, left = self._size, memoryview(content)
            while left:
                left = left[os.pwrite(self._number, left, at + len(content) - len(left)) :]
            self._size = at + len(content)
        return Spooled(self, at, len(content), hashlib.sha256(content).hexdigest())

    def read(self, at: int, length: int) -> bytes:
        """Return `length` bytes from `at` on."""
        parts = []
        while length:
            part = os.pread(self._number, length, at)
            assert part, "what was kept is there"
            parts.append(part)
            at, length = at + len(part), length - len(part)
        return b"".join(parts)


class Spooled:
    """Bytes in a spool; as text, what they themselves would be."""

    __slots__ = ("_at", "_spool", "digest", "length")

    def __init__(self, spool: Spool, at: int, length: int, digest: str) -> None:
        self._spool, self._at, self.length, self.digest = spool, at, length, digest

    def read(self) -> bytes:
        """Return the bytes."""
        return self._spool.read(self._at, self.length)

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return f"<{self.length:,} bytes, SHA-256 {self.digest}>"

    def __str__(self) -> str:
        return str(self.read())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spooled) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.read(),)


def spooled(rows: Iterable[Any]) -> Iterator[Any]:
    """Yield `rows` with their bytes spooled, but for short ones: of cells, and in ``{"bytes": ...}`` of data sets."""
    for row in rows:
        yield {name: _cell(value) for name, value in row.items()} if isinstance(row, dict) else row


def _cell(value: Any) -> Any:
    if isinstance(value, bytes):
        return _spool().keep(value) if len(value) >= _LEAST else value
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return {**value, "bytes": _cell(value["bytes"])}
    return value


def _again(content: bytes) -> Spooled:
    return _spool().keep(content)


@cache
def _spool() -> Spool:
    return Spool()


# What a fork keeps must not come where this process writes too.
os.register_at_fork(after_in_child=_spool.cache_clear)
