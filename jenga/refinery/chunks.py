"""Rows on their way into the refinery: a chunk of JSON text, or of columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

HEAD_BYTES = 500
"""How much of a bad row is kept."""


@dataclass(frozen=True)
class Refused:
    """A row that was not cut out: it is longer than the limit, or has not the columns of its table.

    `byte_offset` as in `RowChunk`; `head`: its first 500 bytes; `line`: that of a table's row, 0 where it is not known.
    """

    number: int
    byte_offset: int
    head: bytes
    code: str = "row_too_long"
    line: int = 0


@dataclass(frozen=True)
class RowChunk:
    """Rows of JSON in one buffer.

    `data` uint8 ``(n,)``; `row_offsets` int64 ``(M, 2)``, begin and end of each row in `data`; `numbers` int64
    ``(M,)``, the line or element of each row, from 1; `byte_offset`, where `data` begins in the (unpacked) file, or
    None where rows were given one by one.
    """

    data: NDArray[np.uint8]
    row_offsets: NDArray[np.int64]
    numbers: NDArray[np.int64]
    byte_offset: int | None
    file: str
    n_blank: int = 0
    refused: list[Refused] = field(default_factory=list)

    def row(self, index: int) -> bytes:
        """Return the bytes of one row."""
        begin, end = self.row_offsets[index].tolist()
        return self.data[begin:end].tobytes()


@dataclass(frozen=True)
class TableChunk:
    """Rows of columns.

    `columns`: by name, a pyarrow Array, or a list of Python values where types are mixed; `numbers` as in `RowChunk`;
    `typed`: False where every cell is text because the file has no types (CSV).
    """

    columns: Mapping[str, Any]
    numbers: NDArray[np.int64]
    file: str
    typed: bool = True
    refused: list[Refused] = field(default_factory=list)


Chunk: TypeAlias = RowChunk | TableChunk


def portions(chunk: Chunk, n_rows: int) -> Iterator[Chunk]:
    """Yield the rows of a chunk of text `n_rows` at a time; a chunk of columns, and one that is smaller, as it is.

    Text is cut by bytes, and a row may be two bytes long: its features are not.
    """
    if not isinstance(chunk, RowChunk) or len(chunk.numbers) <= n_rows:
        yield chunk
        return
    for first in range(0, len(chunk.numbers), n_rows):
        rows = slice(first, first + n_rows)
        yield replace(
            chunk, row_offsets=chunk.row_offsets[rows], numbers=chunk.numbers[rows],
            n_blank=0 if first else chunk.n_blank, refused=[] if first else chunk.refused,
        )  # fmt: skip


def python_values(column: Any) -> list[Any]:
    """Return a column's values, None where NaN or null."""
    values: list[Any] = column if isinstance(column, list) else column.to_pylist()
    return [None if isinstance(value, float) and value != value else value for value in values]
