"""The feature matrix that chunks are written into, one after another."""

from __future__ import annotations

import os
from collections.abc import Sized
from typing import Any

import numpy as np
import torch

from jenga.refinery.chunks import Chunk, RowChunk

_GROWTH = 1.5
_SLACK = 1.02
_COMPRESSED_SUFFIXES = (".gz", ".zst")


class FeatureBuffer:
    """Rows of `width` float32 values: those of `out` where it is given, else memory made for `source`'s likely size."""

    def __init__(self, width: int, source: Any, out: Any) -> None:
        self._width = width
        self._out = None if out is None else target_of(out, width)
        self._rows, self._bytes = (None, None) if out is not None else likely_size(source)
        self._values = torch.empty(0, width)
        self._used = 0

    def room(self, chunk: Chunk, *, refused: bool = False) -> torch.Tensor:
        """Return memory for the features of a chunk's rows. Raises ValueError where `out` has too few rows.

        It must be let go of before the next call. `refused`: whether rows that were not cut out need room as well.
        """
        end = self._used + len(chunk.numbers) + (len(chunk.refused) if refused else 0)
        if self._out is not None:
            if end > len(self._out):
                raise ValueError(f"out: has {len(self._out)} rows, X has at least {end} (bad rows need room as well)")
            return self._out[self._used : end]
        if end > len(self._values):
            self._resize(max(end, self._likely_rows(chunk), int(self._used * _GROWTH)))
        return self._values[self._used : end]

    def add(self, count: int) -> None:
        """Count the rows that were written to the memory which `room` gave."""
        self._used += count

    def rows(self) -> torch.Tensor:
        """Return the rows written."""
        if self._out is not None:
            return self._out[: self._used]
        # Memory that was never written to costs nothing, so a little too much of it is kept.
        if len(self._values) > self._used * _GROWTH:
            self._resize(self._used)
        return self._values[: self._used]

    def _likely_rows(self, chunk: Chunk) -> int:
        if self._rows is not None:
            return self._rows
        if self._bytes is None or not isinstance(chunk, RowChunk) or not len(chunk.numbers):
            return 0
        n_bytes = int(chunk.row_offsets[-1, 1] - chunk.row_offsets[0, 0]) + 1
        return int(len(chunk.numbers) * (self._bytes / n_bytes) * _SLACK)

    def _resize(self, n_rows: int) -> None:
        # NumPy asks for huge pages where the system has them, torch does not.
        values = torch.from_numpy(np.empty((n_rows, self._width), np.float32))
        values[: self._used] = self._values[: self._used]
        self._values = values


def likely_size(source: Any) -> tuple[int | None, int | None]:
    """Return how many rows, or else how many bytes of JSON, X has, as far as that is known beforehand."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        is_plain = os.path.isfile(path) and not path.endswith(_COMPRESSED_SUFFIXES)
        return None, os.path.getsize(path) if is_plain else None
    if isinstance(source, (bytes, bytearray, memoryview)):
        return None, len(source)
    return len(source) if isinstance(source, Sized) else None, None


def target_of(out: Any, width: int) -> torch.Tensor:
    """Return `out` as a tensor over the same memory. Raises ValueError where features do not fit in."""
    is_float32 = out.dtype in (np.float32, torch.float32)
    if not is_float32 or out.ndim != 2 or out.shape[1] != width:
        raise ValueError(f"out: needs float32 of shape (rows, {width}), got {out.dtype} of shape {tuple(out.shape)}")
    target = out if isinstance(out, torch.Tensor) else torch.from_numpy(out)
    if not target.is_contiguous() or target.device.type != "cpu":
        raise ValueError("out: needs memory that is contiguous (C order) and on the CPU")
    return target
