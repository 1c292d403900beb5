"""Rows of JSON side by side in one buffer: a sequence of bytes that the refinery reads without packing it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from jenga.refinery.chunks import RowChunk


class PackedRows(Sequence[bytes]):
    """M rows. `data` uint8 ``(n,)``; `row_offsets` int64 ``(M, 2)``: begin and end of each row in it, ascending."""

    def __init__(self, data: NDArray[np.uint8], row_offsets: NDArray[np.int64]) -> None:
        self.data, self.row_offsets = data, row_offsets

    @classmethod
    def of(cls, chunks: Iterable[RowChunk]) -> Self:
        """Return copies of the rows of `chunks`, whose memory may be given back afterwards."""
        held = [(chunk.data.copy(), chunk.row_offsets) for chunk in chunks]
        starts = np.cumsum([0, *(len(data) for data, _ in held)])
        offsets = [each + start for (_, each), start in zip(held, starts[:-1].tolist(), strict=True)]
        data = np.concatenate([np.empty(0, np.uint8), *(each for each, _ in held)])
        return cls(data, np.concatenate([np.empty((0, 2), np.int64), *offsets]))

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

    def chunk(self) -> RowChunk:
        """Return the rows as given one by one, numbered from 1."""
        return RowChunk(self.data, self.row_offsets, np.arange(1, len(self) + 1), None, "")
