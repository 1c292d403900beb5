"""Cells that hold a recording or a picture: a path, its bytes, or the values themselves."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jenga.labels.column import RowError, show
from jenga.rows.content import CellColumns
from jenga.rows.raw import RawRows
from jenga.rows.spooled import Spooled

ALLOWED = "a path, {path}, {bytes}, {base64}, or {array, sampling_rate}"


@dataclass(frozen=True, slots=True)
class Media:
    """What a cell holds, not decoded yet; one of the three is there. `name`: what messages call it."""

    name: str
    path: Path | None = None
    content: bytes | Spooled | None = field(default=None, repr=False)
    values: np.ndarray | None = field(default=None, repr=False)
    rate: int | None = None
    _digest: bytes | None = field(init=False, default=None, repr=False, compare=False)

    def read(self) -> bytes:
        """Return the bytes of the file. Raises OSError where it cannot be read."""
        if self.content is not None:
            return self.content.read() if isinstance(self.content, Spooled) else self.content
        assert self.path is not None, "values have no bytes"
        return self.path.read_bytes()

    def digest(self) -> bytes:
        """Return the SHA-256 of what is held, read once. Raises OSError where it cannot be read."""
        if self._digest is None:
            held = self.read() if self.values is None else np.ascontiguousarray(self.values).tobytes()
            object.__setattr__(self, "_digest", hashlib.sha256(held + str(self.rate or "").encode()).digest())
        assert self._digest is not None
        return self._digest

    def know(self, digest: bytes) -> None:
        """Take `digest` for what `digest()` returns: another process has read the file."""
        object.__setattr__(self, "_digest", digest)

    def __repr__(self) -> str:
        return self.name if self.path is not None else f"{self.name}:{self.digest().hex()}"


@dataclass(frozen=True)
class MediaColumns(CellColumns):
    """Columns of files. A path is relative to the folder of the rows' file, and must lie in it or in `root`.

    Of rows of standard input that folder is the working directory; of rows that come from elsewhere, such as the hub, a
    path is relative to `root`. In a caller's own rows it is relative to the working directory, and may lead anywhere.

    A cell is a path, ``{"path"}`` or ``{"bytes"}`` as data sets of the hub have them, ``{"base64"}``, or numbers: a
    list, or ``{"array", "sampling_rate"}``. Rows that come over a network name no paths. `root`: an absolute folder;
    "": only that of the rows' file counts.
    """

    by_place: ClassVar[bool] = True

    root: str = ""

    def cell(self, name: str, value: Any, raw: RawRows) -> Media:
        """Return the medium in a cell. Raises RowError for anything else, or a path that leads elsewhere."""
        where = f"column '{name}'"
        if isinstance(value, str):
            return self._at(value, where, raw)
        if isinstance(value, bytes | Spooled):
            return Media(f"{where}: bytes", content=value)
        if isinstance(value, dict):
            if isinstance(value.get("bytes"), bytes | Spooled):
                return Media(str(value.get("path") or f"{where}: bytes"), content=value["bytes"])
            if isinstance(value.get("bytes"), str | list):
                fix = "give a path, or {base64}, or write the rows as Parquet"
                raise RowError(f"{where}: its bytes are {show(value['bytes'])}, and JSON holds none; {fix}")
            if isinstance(value.get("base64"), str):
                return Media(f"{where}: bytes", content=_bytes(value["base64"], where))
            if isinstance(value.get("path"), str):
                return self._at(value["path"], where, raw)
            if "array" in value:
                rate = value.get("sampling_rate")
                return Media(
                    where, values=_numbers(value["array"], where), rate=rate if isinstance(rate, int) else None
                )
        if isinstance(value, list | np.ndarray):
            return Media(where, values=_numbers(value, where))
        raise RowError(f"{where} is {show(value)}; allowed: {ALLOWED}")

    def _at(self, given: str, where: str, raw: RawRows) -> Media:
        if raw.remote:
            raise RowError(f"{where}: a request names no files; give their content: {{base64}}, or numbers")
        allowed = [each.resolve() for each in (raw.home, Path(self.root) if self.root else None) if each is not None]
        if not raw.in_hand and not allowed:
            raise RowError(f"{where}: the rows are in no folder here that '{given}' could lie in; set data_root to one")
        beside = Path.cwd() if raw.in_hand else allowed[0]
        try:
            path = (beside / Path(given).expanduser()).resolve()
            is_file = path.is_file()
        except (OSError, ValueError, RuntimeError) as error:  # a name too long, a NUL in it, nobody's home, links
            reason = getattr(error, "strerror", None) or error
            raise RowError(f"{where}: {show(given)} is no path that can be followed ({reason})") from None
        # Rows of a file are data, which may come from anywhere; those in hand are the caller's own words.
        if not raw.in_hand and not any(path.is_relative_to(each) for each in allowed):
            raise RowError(f"{where}: '{given}' lies outside {allowed[-1]}; set data_root to a folder that holds it")
        if not is_file:
            raise RowError(f"{where}: there is no file '{given}' in {beside}")
        return Media(str(path), path=path)


def _bytes(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except ValueError as error:
        raise RowError(f"{where}: its base64 cannot be read ({error})") from None


def _numbers(value: Any, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        raise RowError(f"{where}: its lists are of different lengths") from None
    if not np.issubdtype(array.dtype, np.number) or array.size == 0:
        raise RowError(f"{where} holds {show(value)}; allowed: numbers")
    return array
