"""Rows of JSON side by side in one buffer: a sequence of bytes that the refinery reads without packing it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from jenga.refinery.chunks import RowChunk


class PackedRows(Sequence[bytes]):
    """M rows. `data` uint8 ``(n,)``; `row_offsets` int64 ``(M, 2)``: begin and end of each row in it, ascending."""

    def __init__(self, data: NDArray[np.uint8], row_offsets: NDArray[np.int64]) -> None:
        self.data, self.row_offsets = data, row_offsets

    @classmethod
    def of(cls, chunks: Iterable[RowChunk], *, n_bytes: int = 0) -> Self:
        """Return copies of the rows of `chunks`, whose memory may be given back afterwards.

        n_bytes: how many they are together, as far as that is known: what is not known beforehand is copied once more.
        """
        data, used = np.empty(n_bytes, np.uint8), 0
        offsets = [np.empty((0, 2), np.int64)]
        for chunk in chunks:
            if not len(chunk.row_offsets):
                continue
            begin, end = int(chunk.row_offsets[0, 0]), int(chunk.row_offsets[-1, 1])
            offsets.append(chunk.row_offsets + (used - begin))
            if used + end - begin > len(data):
                # Memory that is never written to costs nothing.
                data = np.concatenate([data[:used], np.empty(max(end - begin, used), np.uint8)])
            data[used : used + end - begin] = chunk.data[begin:end]
            used += end - begin
        return cls(data[:used], np.concatenate(offsets))

    def __len__(self) -> int:
        return len(self.row_offsets)

    @overload
    def __getitem__(self, at: int) -> bytes: ...

    @overload
    def __getitem__(self, at: slice) -> Self: ...

    def __getitem__(self, at: int | slice) -> bytes | Self:
        if isinstance(at, slice):
            return type(self)(self.data, self.row_offsets[at])
        begin, end = self.row_offsets[at].tolist()
        return self.data[begin:end].tobytes()

    def take(self, index: NDArray[np.int64]) -> Self:
        """Return the rows at `index`, which ascends."""
        return type(self)(self.data, self.row_offsets[index])

    def __reduce__(self) -> tuple[Any, ...]:
        """Take no bytes of other rows along to another process."""
        begin, end = (int(self.row_offsets[0, 0]), int(self.row_offsets[-1, 1])) if len(self) else (0, 0)
        return type(self), (self.data[begin:end].copy(), self.row_offsets - begin)

    def chunk(self) -> RowChunk:
        """Return the rows as given one by one, numbered from 1."""
        return RowChunk(self.data, self.row_offsets, np.arange(1, len(self) + 1), None, "")
