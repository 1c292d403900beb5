"""Arrays on disk that grow while they are written and are mapped, not read, afterwards."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jenga.files import json_object, writing

_ABOUT = "arrays.json"


class ArrayWriter:
    """Writes arrays to `folder`, a piece after the other along their first axis, each to a file of its own."""

    def __init__(self, folder: Path) -> None:
        """Raises SetupError where the folder cannot be made."""
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._about: dict[str, tuple[str, list[int]]] = {}

    def append(self, name: str, piece: np.ndarray) -> None:
        """Write `piece` behind what the array has so far: ``(M, ...)``, of the type and width of those before.

        Raises SetupError where it cannot be written.
        """
        with writing(self.folder / name):
            if name not in self._files:
                self._files[name] = (self.folder / name).open("wb")
                self._about[name] = (piece.dtype.str, [0, *piece.shape[1:]])
            dtype, shape = self._about[name]
            assert (dtype, shape[1:]) == (piece.dtype.str, list(piece.shape[1:])), f"{name}: pieces differ in type"
            self._files[name].write(np.ascontiguousarray(piece).tobytes())
        shape[0] += len(piece)

    def close(self) -> None:
        """End all files, and write what they are. Raises SetupError where that cannot be written."""
        with writing(self.folder / _ABOUT):
            self.abandon()
            (self.folder / _ABOUT).write_text(json.dumps(self._about), encoding="utf-8")

    def abandon(self) -> None:
        """End all files as they are. Raises OSError where what is left cannot be written."""
        for file in self._files.values():
            file.close()


def mapped_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays that an `ArrayWriter` wrote to `folder`, by name; they cannot be changed.

    Raises OSError or ValueError where they are not what was written.
    """
    return {name: _mapped(folder / name, *about) for name, about in json_object(folder / _ABOUT).items()}


def _mapped(path: Path, dtype: str, shape: list[int]) -> np.ndarray:
    kind: np.dtype[Any] = np.dtype(dtype)
    if path.stat().st_size != kind.itemsize * math.prod(shape):
        raise ValueError(f"{path}: {path.stat().st_size} bytes for {shape} values of type {dtype}")
    if not math.prod(shape):  # which cannot be mapped
        return np.zeros(shape, kind)
    # Without its own class, which every slice of it would keep.
    return np.memmap(path, kind, "r", shape=tuple(shape)).view(np.ndarray)
