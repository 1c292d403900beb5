"""Features of media, computed once: on disk, a file each, named by what it is of, or for as long as they are used."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from jenga.errors import SetupError
from jenga.files import atomic_file

logger = logging.getLogger(__name__)


class FeatureStore:
    """Arrays by a key of hexadecimal digits, in `folder`; without one, or where the disk is full, they stay in memory.

    A key names all that its array depends on, so that what stands there is never of something else.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._kept: dict[str, torch.Tensor] = {}

    def get(self, key: str) -> torch.Tensor | None:
        """Return the array of `key`; None where there is none, or it is harmed."""
        if key in self._kept:
            return self._kept[key]
        if self.folder is None or not (path := self._path(key)).is_file():
            return None
        try:
            return load_file(path)["features"]
        except (OSError, SafetensorError, KeyError) as error:
            logger.warning("cached features in %s cannot be read: %s; computing them again", path, error)
            return None

    def shape(self, key: str) -> tuple[int, ...] | None:
        """Return the shape of the array of `key`, without reading it; None where there is none, or it is harmed."""
        if key in self._kept:
            return tuple(self._kept[key].shape)
        if self.folder is None or not (path := self._path(key)).is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                return tuple(file.get_slice("features").get_shape())
        except (OSError, SafetensorError) as error:
            logger.warning("cached features in %s cannot be read: %s; computing them again", path, error)
            return None

    def put(self, key: str, features: np.ndarray) -> None:
        """Keep `features` as the array of `key`."""
        tensor = torch.from_numpy(np.ascontiguousarray(features))
        if self.folder is None:
            self._kept[key] = tensor
            return
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                file.write(save({"features": tensor}))
        except (OSError, SetupError) as error:
            logger.warning("features are not cached: %s; they stay in memory", error)
            self._kept[key] = tensor

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.safetensors"


class PassingStore(FeatureStore):
    """Arrays of rows that are seen once, such as those of a caller: no file of them is left.

    They stay in memory up to `most_bytes`, and in a folder of temporary files beyond that, which goes with the store.
    """

    def __init__(self, most_bytes: int = 256 << 20) -> None:
        super().__init__(None)
        self._room = most_bytes

    def put(self, key: str, features: np.ndarray) -> None:
        """Keep `features` as the array of `key`."""
        self._room -= features.nbytes
        if self._room < 0 and self.folder is None:
            try:
                self.folder = Path(tempfile.mkdtemp(prefix="jenga-"))
            except OSError as error:
                logger.warning("there is no place for temporary files: %s; features stay in memory", error)
            else:
                weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        super().put(key, features)
