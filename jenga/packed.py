"""What is packed, such as gzip, as long as it does not unpack like a file that was made to fill the memory."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from jenga.errors import ConfigError, DataError

RATIO_VARIABLE = "JENGA_MAX_UNPACK_RATIO"
USUAL_RATIO = 200.0
"""Texts and logs pack to a tenth or a thirtieth, the most alike ones to a hundredth; gzip's most is 1,032."""
HARMLESS_BYTES = 256 << 20
_STEP_BYTES = 16 << 20
_METHODS = {".gz": "gzip", ".zst": "zstd"}


class UnpackLimit:
    """Counts what the file `name` of `packed_bytes` unpacks to, and stops it where that is out of all proportion."""

    def __init__(self, name: str, packed_bytes: int) -> None:
        """Raises ConfigError where the environment allows no number."""
        self._name, self._packed, self._ratio = name, packed_bytes, _ratio()
        self.unpacked_bytes = 0

    def add(self, n_bytes: int) -> None:
        """Count `n_bytes` more. Raises DataError once they are too many."""
        self.unpacked_bytes += n_bytes
        if self.unpacked_bytes > max(HARMLESS_BYTES, self._ratio * self._packed):
            raise DataError(
                f"{self._name}: its {self._packed:,} bytes unpack to more than {self._ratio:g} times as many "
                f"({self.unpacked_bytes:,} and no end), as those of a file made to fill the memory do. If it is what "
                f"you want to read, set {RATIO_VARIABLE}=2000 in the environment, or unpack it first"
            )


def gunzipped(name: str, packed: bytes) -> bytes:
    """Return what gzip data unpacks to. `name`: its file, in messages.

    Raises DataError where it is damaged or cut short, or unpacks to more than `UnpackLimit` allows.
    """
    return b"".join(unpacked_parts(name, io.BytesIO(packed), len(packed), ".gz"))


def unpacked_parts(name: str, packed: BinaryIO, n_bytes: int, packing: str) -> Iterator[bytes]:
    """Yield what a file of `n_bytes` unpacks to, some megabytes at a time; packing: its suffix, .gz or .zst.

    Raises as `gunzipped` does.
    """
    limit = UnpackLimit(name, n_bytes)
    try:
        with _unpacking(packed, packing) as file:
            while part := file.read(_STEP_BYTES):
                limit.add(len(part))
                yield part
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{name}: the {_METHODS[packing]} data is damaged or cut short ({error}); fetch or compress the file again"
        ) from None


def _unpacking(packed: BinaryIO, packing: str) -> Any:
    if packing == ".gz":
        return gzip.GzipFile(fileobj=packed)
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(packed, mode="r"), "zstd")


def _ratio() -> float:
    given = os.environ.get(RATIO_VARIABLE)
    try:
        ratio = USUAL_RATIO if given is None else float(given)
    except ValueError:
        ratio = 0.0
    if not ratio >= 1:
        raise ConfigError(f"{RATIO_VARIABLE}: got {given!r}; allowed: a number from 1, such as {USUAL_RATIO:g}")
    return ratio
