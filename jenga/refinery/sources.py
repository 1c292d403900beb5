"""Anything that the refinery takes as rows, cut into chunks of bounded size.

Bytes become `RowChunk`s, whose rows native code parses where they lie; what has columns becomes `TableChunk`s. Where a
chunk ends never shows in what is made of its rows.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.refinery.chunks import HEAD_BYTES, Chunk, Refused, RowChunk
from jenga.refinery.cutting import BLANKS, window_chunks
from jenga.refinery.packed import PackedRows
from jenga.refinery.streams import STDIN, memory_windows, open_windows
from jenga.refinery.threads import thread_count

MAX_ROW_BYTES = 16 << 20
ROW_BATCH = 8192
"""Rows of a list or an iterator that are packed at a time."""
_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
_COMPRESSED_SUFFIXES = (".gz", ".zst")


def chunks_of(
    source: Any,
    *,
    chunk_bytes: int,
    names: Sequence[str] | None = None,
    max_row_bytes: int = MAX_ROW_BYTES,
    records: str | None = None,
    n_threads: int | None = 1,
) -> Iterator[Chunk]:
    """Yield the rows of `source` in order, in memory that does not grow with it.

    `source`: path of JSON, JSON Lines (plain, gzip or zstd), CSV, TSV or Parquet; ``-`` for standard input; bytes; list
    or iterator of bytes, str or dict; pandas or other data frame; pyarrow Table, RecordBatch or an iterable of them;
    2-D array, whose columns are called `names` (x0, x1, ... without). `records`: where the list of rows stands in an
    object, of files and bytes of JSON; None: where services have it, if anywhere. `n_threads`: those that find lines of
    JSON; None: one for each core.

    Raises DataError for what cannot be read, TypeError for another type.
    """
    from jenga.refinery import arrow

    if isinstance(source, PackedRows):
        return iter([source.chunk()])
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if table_suffix(path):
            return arrow.file_chunks(path)
        return _file_chunks(path, chunk_bytes, max_row_bytes, records, thread_count(n_threads))
    if isinstance(source, (bytes, bytearray, memoryview)):
        windows = memory_windows(source)
        return window_chunks(
            windows, "", chunk_bytes, max_row_bytes, records=records, n_threads=thread_count(n_threads)
        )
    if arrow.has_columns(source):
        return arrow.table_chunks(source, names=names)
    if isinstance(source, Mapping):
        raise TypeError("X is one dict; give a list of rows: [row]")
    if isinstance(source, Iterable):
        return _iterable_chunks(iter(source), chunk_bytes, max_row_bytes)
    raise TypeError(
        f"X is of type {type(source).__name__}; give a path, bytes, a list or iterator of bytes, str or dict, "
        "a DataFrame, an Arrow table or a 2-D array"
    )


def table_suffix(path: str) -> str:
    """Return the suffix of a file of columns, without that of its compression, or ''."""
    name = path.lower()
    for suffix in _COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return next((suffix for suffix in _TABLE_SUFFIXES if name.endswith(suffix)), "")


def _file_chunks(
    path: str, chunk_bytes: int, max_row_bytes: int, records: str | None, n_threads: int
) -> Iterator[RowChunk]:
    file = "standard input" if path == STDIN else path
    with open_windows(path) as windows:
        yield from window_chunks(windows, file, chunk_bytes, max_row_bytes, records=records, n_threads=n_threads)


def _iterable_chunks(rows: Iterator[Any], chunk_bytes: int, max_row_bytes: int) -> Iterator[Chunk]:
    """Pack rows some thousands at a time; tables pass as they are, one by one."""
    from jenga.refinery import arrow

    number = 1
    head = list(itertools.islice(rows, 1))
    rows = itertools.chain(head, rows)
    if head and arrow.has_columns(head[0]):
        for table in rows:
            for chunk in arrow.table_chunks(table, first=number):
                yield chunk
                number += len(chunk.numbers)
        return
    for batch in _batches(rows, chunk_bytes):
        yield _packed(batch, number, max_row_bytes)
        number += len(batch)


def _batches(rows: Iterator[Any], chunk_bytes: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row) if isinstance(row, (bytes, str)) else 0
        if len(batch) == ROW_BATCH or size >= chunk_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _packed(rows: Sequence[Any], first: int, max_row_bytes: int) -> RowChunk:
    from jenga.kernels.refinery import pack_rows

    for index, row in enumerate(rows):
        if not isinstance(row, (bytes, str, dict)):
            raise TypeError(f"row {first + index} is of type {type(row).__name__}; rows are bytes, str or dict")
    data, offsets = (each.numpy() for each in pack_rows(list(rows), first=first))
    numbers = np.arange(first, first + len(rows))
    lengths = offsets[:, 1] - offsets[:, 0]
    blank, long = _blank(data, offsets), lengths > max_row_bytes
    refused = [
        Refused(int(numbers[at]), 0, data[offsets[at, 0] :][:HEAD_BYTES].tobytes()) for at in np.flatnonzero(long)
    ]
    kept = ~(blank | long)
    return RowChunk(data, offsets[kept], numbers[kept], None, "", int(blank.sum()), refused)


def _blank(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    blank: NDArray[np.bool_] = offsets[:, 0] == offsets[:, 1]
    first = data[np.where(blank, 0, offsets[:, 0])] if len(data) else np.zeros(len(offsets), np.uint8)
    for at in np.flatnonzero(~blank & np.isin(first, list(BLANKS))):
        blank[at] = not data[offsets[at, 0] : offsets[at, 1]].tobytes().strip(BLANKS)
    return blank
