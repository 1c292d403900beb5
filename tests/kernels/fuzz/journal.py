"""What a child has done, in a file that outlives it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_MAX_NAMES = 256


class Journal:
    """The call in hand, and counts by name of calls that succeeded, were refused, and were valid and succeeded."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        rows = np.memmap(path, dtype=np.int64, mode="w+" if create else "r+", shape=(_MAX_NAMES + 1, 3))
        self.counts = rows[:_MAX_NAMES]
        self._call = rows[_MAX_NAMES]

    def begin(self, index: int, seed: int) -> None:
        self._call[:] = index, seed, 1

    @property
    def index(self) -> int:
        return int(self._call[0])

    @property
    def seed(self) -> int:
        return int(self._call[1])

    @property
    def started(self) -> bool:
        return bool(self._call[2])
