"""The files of a run, each read once, by whatever path it is reached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from jenga.rows.large import LargeRows
from jenga.rows.raw import RawRows
from jenga.rows.readers import place_of

Raw = TypeVar("Raw", bound=RawRows)


class ReadOnce(Generic[Raw]):
    """Reads files through `read`, called as ``read(path, split=...)``, and gives one object for the same rows.

    A file by another path, through a link, copied or packed otherwise holds the same rows, which a run must never take
    for others: they would train where they test. `files`: what was read, in order.
    """

    def __init__(self, read: Callable[..., Raw], *, by_place: bool = False) -> None:
        """by_place: rows are the same only in the same folder, as they name files beside them."""
        self.files: list[Raw] = []
        self._by_home = by_place
        self._read = read
        self._by_place: dict[str, Raw] = {}
        self._digests: dict[str, bytes] = {}

    def __call__(self, path: str, *, split: str) -> Raw:
        """Return the rows of `path`; `split` picks the part of a hub data set. Raises what `read` raises."""
        place = place_of(path, split)
        if place not in self._by_place:
            raw = self._read(path, split=split)
            known = next((each for each in self.files if self._same(each, raw)), None)
            if known is None:
                self.files.append(raw)
            self._by_place[place] = known or raw
        return self._by_place[place]

    def _same(self, one: RawRows, other: RawRows) -> bool:
        # Most files differ in length, and are never hashed.
        if len(one.rows) != len(other.rows) or [bad.raw for bad in one.bad] != [bad.raw for bad in other.bad]:
            return False
        if self._by_home and _home(one) != _home(other):
            return False
        if (one.digest is None) == (other.digest is None) and self.digest(one) == self.digest(other):
            return True
        # Of a file that is not held it is that of its bytes, which others may have for the same rows.
        large = isinstance(one, LargeRows) or isinstance(other, LargeRows)
        return large and content_digest(one.content) == content_digest(other.content)

    def digest(self, raw: RawRows) -> bytes:
        """Return the SHA-256 of the rows of one of `files`, computed once."""
        if raw.file not in self._digests:
            self._digests[raw.file] = raw.digest or content_digest(raw.content)
        return self._digests[raw.file]


def _home(raw: RawRows) -> Path | None:
    return None if raw.home is None else raw.home.resolve()


def content_digest(rows: Iterable[Any]) -> bytes:
    """Return the SHA-256 of rows, each JSON as bytes or text, or what JSON can write."""
    digest = hashlib.sha256()
    for row in rows:
        text = row if isinstance(row, str | bytes) else json.dumps(row, default=_words)
        digest.update((text if isinstance(text, bytes) else text.encode(errors="surrogatepass")) + b"\n")
    return digest.digest()


def _words(value: Any) -> str:
    """Return a cell that JSON cannot write as words that differ where it does."""
    if isinstance(value, np.ndarray):  # whose own words leave the middle out
        return f"{value.dtype} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    return str(value)
