"""Columns of texts on disk: written once as Arrow, mapped into memory, read where they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from jenga.files import writing

if TYPE_CHECKING:
    import pyarrow

_CHUNK_ROWS = 4096
"""Rows of all chunks but the last, so that a row's chunk follows from its number."""
_READ_ROWS = 4096


class Strings(Sequence[str]):
    """Texts of an Arrow column on disk, or those at some of its places, without holding them.

    digest: of the column, which tells it from any other.
    """

    def __init__(self, column: pyarrow.ChunkedArray, *, digest: str, at: np.ndarray | None = None) -> None:
        self._column, self._digest, self._at = column, digest, at
        self._chunks = column.chunks
        assert all(len(chunk) == _CHUNK_ROWS for chunk in self._chunks[:-1])

    def __len__(self) -> int:
        return len(self._column) if self._at is None else len(self._at)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return self._several(at)
        if not -len(self) <= at < len(self):
            raise IndexError(f"row {at} of {len(self)}")
        row = at + len(self) if at < 0 else at
        chunk, place = divmod(int(row if self._at is None else self._at[row]), _CHUNK_ROWS)
        return self._chunks[chunk][place].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _READ_ROWS):
            yield from self[start : start + _READ_ROWS]

    def take(self, at: np.ndarray) -> Strings:
        """Return the texts at `at`, int64 ``(M,)``, in its order."""
        return Strings(self._column, digest=self._digest, at=at if self._at is None else self._at[at])

    @property
    def digest(self) -> str:
        """What tells these texts from any others."""
        if self._at is None:
            return self._digest
        return hashlib.sha256(self._digest.encode() + np.asarray(self._at, np.int64).tobytes()).hexdigest()

    @property
    def column_digest(self) -> str:
        """What tells the column from any other, whatever places of it these are."""
        return self._digest

    @property
    def places(self) -> np.ndarray | None:
        """The places in the column, int64 ``(M,)``; None: all of it."""
        return self._at

    def _several(self, at: slice) -> list[str]:
        import pyarrow

        start, stop, step = at.indices(len(self))
        if self._at is None and step == 1:
            whole: list[str] = self._column.slice(start, max(0, stop - start)).to_pylist()
            return whole
        chunks, places = np.divmod(np.arange(start, stop, step) if self._at is None else self._at[at], _CHUNK_ROWS)
        # One chunk after the other: Arrow's own `take` lays all chunks of the column end to end before, each time.
        ends = [*(np.flatnonzero(np.diff(chunks)) + 1).tolist(), len(chunks)]
        texts: list[str] = []
        for first, last in pairwise([0, *ends]):
            if last - first == 1:
                texts.append(self._chunks[chunks[first]][places[first]].as_py())
            elif last > first:
                texts += self._chunks[chunks[first]].take(pyarrow.array(places[first:last])).to_pylist()
        return texts


class Names(Sequence[str]):
    """Texts of which there are few, each in many places: `codes` int32 ``(M,)`` into `names`."""

    def __init__(self, codes: np.ndarray, names: Sequence[str]) -> None:
        self.codes, self.names = codes, names

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return [self.names[code] for code in self.codes[at].tolist()]
        return self.names[self.codes[at]]

    def take(self, at: np.ndarray) -> Names:
        """Return the texts at `at`, int64 ``(M,)``, in its order."""
        return Names(self.codes[at], self.names)


def coded(texts: Sequence[str], codes: dict[str, int]) -> np.ndarray:
    """Return a code of each of `texts`, int64 ``(M,)``: those in `codes`, to which new ones are added."""
    if isinstance(texts, Names):
        own = np.array([codes.setdefault(name, len(codes)) for name in texts.names], np.int64)
        found: np.ndarray = own[texts.codes]
        return found
    return np.array([codes.setdefault(text, len(codes)) for text in texts], np.int64)


class StringWriter:
    """Writes columns of texts to a file, a piece after the other."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        """Raises SetupError where the file cannot be made."""
        import pyarrow

        self._path = path
        self._schema = pyarrow.schema([(name, pyarrow.large_string()) for name in names])
        self._waiting: dict[str, list[str]] = {name: [] for name in names}
        with writing(path):
            self._file = pyarrow.OSFile(str(path), "wb")
            self._writer = pyarrow.ipc.new_file(self._file, self._schema)

    def append(self, columns: dict[str, Sequence[str]]) -> None:
        """Write texts, as many of each column, behind those before. Raises SetupError where they cannot be written."""
        for name, texts in columns.items():
            self._waiting[name] += texts
        while len(next(iter(self._waiting.values()))) >= _CHUNK_ROWS:
            self._write(_CHUNK_ROWS)

    def _write(self, rows: int) -> None:
        import pyarrow

        batch = pyarrow.record_batch([texts[:rows] for texts in self._waiting.values()], schema=self._schema)
        with writing(self._path):
            self._writer.write_batch(batch)
        self._waiting = {name: texts[rows:] for name, texts in self._waiting.items()}

    def close(self) -> None:
        """Write what is left. Raises SetupError where it cannot be written."""
        if any(self._waiting.values()):
            self._write(_CHUNK_ROWS)
        with writing(self._path):
            self._writer.close()
            self._file.close()

    def abandon(self) -> None:
        """End the file as it is."""
        self._file.close()


def mapped_strings(path: Path, *, digest: str) -> dict[str, Strings]:
    """Return the columns that a `StringWriter` wrote to `path`; digest: what tells the file from any other.

    Raises OSError or pyarrow.ArrowException where they are not what was written.
    """
    import pyarrow

    table = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()
    return {name: Strings(table[name], digest=f"{digest}/{name}") for name in table.column_names}


class Zipped(Sequence[tuple[str, ...]]):
    """The texts of several columns in each row."""

    def __init__(self, columns: Sequence[Sequence[str]]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return zip(*self._columns, strict=True)

    @overload
    def __getitem__(self, at: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, at: slice) -> list[tuple[str, ...]]: ...

    def __getitem__(self, at: int | slice) -> Any:
        found = [column[at] for column in self._columns]
        return list(zip(*found, strict=True)) if isinstance(at, slice) else tuple(found)


def hashed(values: Sequence[Hashable]) -> np.ndarray:
    """Return a number of each value, int64 ``(M,)``: in this process equal ones have the same, others hardly."""
    return np.fromiter(map(hash, values), np.int64, len(values))


def picked(column: Any, at: np.ndarray) -> Any:
    """Return the cells of a column at `at`, int64: of an array, of what can `take`, or of a list."""
    if isinstance(column, np.ndarray):
        return column[at]
    if hasattr(column, "take"):
        return column.take(at)
    return [column[row] for row in at.tolist()]
