"""Files of rows that are too large to hold: each pass over their rows reads them anew."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from jenga.errors import DataError
from jenga.labels.cells import Tally, is_missing
from jenga.rows.columns import ROWS_LOOKED_AT, KnownColumns, lookup
from jenga.rows.raw import RawRows, Refuse, object_in
from jenga.rows.storage import blocks

LARGE_BYTES = 64 << 20
"""Files of fewer bytes, together, are held: their rows take some ten times as much."""
Reading = Callable[[Refuse], Iterator[tuple[int, Any]]]
"""Called with what refuses a row, yields all others with their numbers, ascending."""


class Watched(NamedTuple):
    """Columns that are looked at when the rows are read first: the ids, and labels, whose cells are counted."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]


def are_large(files: Sequence[str]) -> bool:
    """Return whether the rows of files on this machine are too many to hold."""
    return sum(Path(file).stat().st_size for file in files if Path(file).is_file()) >= LARGE_BYTES


class FileRows(KnownColumns[dict[str, Any]]):
    """The rows of a file, or of several that are read as one, by a pass over them each time."""

    def __init__(self, name: str, files: Sequence[str], reading: Reading) -> None:
        self._name, self._files, self._reading = name, files, reading
        self._stamp = self._now()
        self._count = 0
        self._names: set[str] = set()

    def scan(self, raw: LargeRows, watched: Watched) -> None:
        """Read all rows once: count them, note their columns and what is `watched`, and refuse in `raw` what is none.

        Raises DataError as the file's reader does.
        """
        numbers = array("q")
        ids = {column: array("q") for column in watched.ids}
        raw.tallies = {column: Tally() for column in watched.labels}
        columns: Any = None
        for number, row in self._pass(raw.refuse):
            numbers.append(number)
            if row.keys() != columns:
                columns = row.keys()
                self._names.update(columns)
                there = {column for column in {*ids, *raw.tallies} if column.partition(".")[0] in row or column in row}
                add_id = [(column, each.append) for column, each in ids.items() if column in there]
                add_label = [(column, each.add) for column, each in raw.tallies.items() if column in there]
            for column, add in add_label:
                add(lookup(row, column))
            for column, note in add_id:
                if not is_missing(own := lookup(row, column)):
                    note(hash(str(own)))
        self._count = len(numbers)
        raw.rows = self
        raw.ids = {column: np.frombuffer(hashes, np.int64) for column, hashes in ids.items()}
        whole = self._count and numbers[0] == 1 and numbers[-1] == self._count
        raw.numbers = range(1, self._count + 1) if whole else np.frombuffer(numbers, np.int64)  # type: ignore[assignment]

    def may_have(self, column: str) -> bool:
        """Return whether some row has `column`, or the object that it would stand in."""
        return column in self._names or column.partition(".")[0] in self._names

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (row for _, row in self.numbered())

    def __getitem__(self, at: Any) -> Any:
        """Return the row at `at`, or the rows of a slice; those at the beginning are had soonest."""
        if isinstance(at, slice):
            return list(islice(self, *at.indices(len(self))))
        if not -len(self) <= at < len(self):
            raise IndexError(f"row {at} of {len(self)}")
        return next(islice(self, at % len(self), None))

    def numbered(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield all rows with their numbers. Raises DataError where the file is not what it was."""
        return self._pass(_ignored)

    def _pass(self, refuse: Refuse) -> Iterator[tuple[int, dict[str, Any]]]:
        self._stop_if_changed()
        for number, row in self._reading(refuse):
            if (found := object_in(number, row, refuse)) is not None:
                yield number, found
        self._stop_if_changed()

    def _now(self) -> list[tuple[int, int]]:
        return [(found.st_size, found.st_mtime_ns) for found in map(_stat, self._files)]

    def _stop_if_changed(self) -> None:
        if self._now() != self._stamp:
            raise DataError(f"{self._name}: was written to while it was read; start again once it is whole")


@dataclass
class LargeRows(RawRows):
    """The rows of files that are not held. By column that was watched, `ids`: a hash of each row's own id, where it has
    one; `tallies`: of labels."""

    ids: dict[str, np.ndarray] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    @property
    def examples(self) -> Sequence[dict[str, Any]]:
        """The first rows with all their columns, for messages."""
        found: list[dict[str, Any]] = self.rows[:ROWS_LOOKED_AT]  # type: ignore[assignment]
        return found

    def pieces(self, n_rows: int) -> Iterator[Self]:
        """Yield `n_rows` rows after the other, held."""
        assert isinstance(self.rows, FileRows)
        rows = self.rows.numbered()
        while piece := list(islice(rows, n_rows)):
            numbers, found = zip(*piece, strict=True)
            yield replace(self, rows=list(found), numbers=list(numbers), bad=[])


def read_large(name: str, files: Sequence[str], reading: Reading, watched: Watched) -> LargeRows:
    """Return the rows of `files`, which `reading` reads, as those of `name`, after one pass over them."""
    raw = LargeRows(name)
    FileRows(name, files, reading).scan(raw, watched)
    digest = hashlib.sha256()
    for file in files:
        for block in blocks(file):
            digest.update(block)
    raw.digest = digest.digest()
    return raw


def one_after_the_other(readings: Sequence[tuple[str, Reading]]) -> Reading:
    """Return what reads files, each with its name, as one, numbered from 1 throughout."""

    def read(refuse: Refuse) -> Iterator[tuple[int, Any]]:
        at = 0

        def refused(number: int, reason: str, raw: str) -> None:
            nonlocal at
            at += 1
            refuse(at, f"{file}:{number}: {reason}", raw)

        for name, reading in readings:
            file = name
            for number, value in reading(refused):
                before = at
                row = object_in(number, value, refused)
                if row is not None:
                    at = before + 1
                    yield at, row

    return read


def repeated_ids(files: Sequence[RawRows], column: str) -> tuple[int, set[str]]:
    """Return how many rows of `files` share their id with another one, and these ids."""
    hashes = [
        each.ids[column] if isinstance(each, LargeRows) and column in each.ids else _hashes(each, column)
        for each in files
    ]
    values, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *hashes]), return_counts=True)
    twice = set(values[counts > 1].tolist())
    if not twice:
        return 0, set()
    own = (lookup(row, column) for each in files for row in each.rows)
    names = {str(each) for each in own if not is_missing(each) and hash(str(each)) in twice}
    return int(counts[counts > 1].sum()), names


def _hashes(raw: RawRows, column: str) -> np.ndarray:
    own = (lookup(row, column) for row in raw.rows)
    return np.array([hash(str(each)) for each in own if not is_missing(each)], np.int64)


def _ignored(number: int, reason: str, raw: str) -> None:
    """Refuse a row that was refused when the file was scanned."""


def _stat(file: str) -> Any:
    try:
        return Path(file).stat()
    except OSError as error:
        raise DataError(f"{file}: cannot be read any more ({error.strerror})") from error
