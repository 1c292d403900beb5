"""Rows that a list of findings names, left out of training and judging."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jenga.errors import DataError
from jenga.rows.parse import Rows
from jenga.rows.split import TRAIN

ROWS_DIGEST = "rows_sha256"
"""Key of a line for the SHA-256 of the rows that its file had: see `jenga.rows.fingerprint`."""
Place = tuple[str, int]


class _Named(NamedTuple):
    """What a line says of its row beside the place."""

    id: str | None
    digest: str | None


class Excluded:
    """The rows of ``data.exclude``: JSON Lines with ``file`` and ``row``, such as audit.jsonl.

    Lines whose ``row`` is null are about no single row. ``id`` and ``rows_sha256`` tell whether the row is still the
    one that was meant. digests: SHA-256 of the rows of each file, by its name. Raises DataError for a file that is no
    such list.
    """

    def __init__(self, path: str | None, digests: Mapping[str, str]) -> None:
        self.path, self._digests = path, digests
        self._named = {} if path is None else _places(Path(path))
        self._met: set[Place] = set()
        self._left_out: Counter[str] = Counter()
        self._unsure: dict[str, None] = {}

    def take_out(self, splits: dict[str, Rows], source: str) -> None:
        """Take the rows out of `splits` of `source`.

        Raises DataError where that leaves no training row, or where a row has another id than the list says.
        """
        for split, rows in splits.items() if self._named else ():
            kept = []
            for at, place in enumerate(zip(rows.files, rows.numbers, strict=True)):
                if place in self._named:
                    self._meet(place, rows.ids[at])
                else:
                    kept.append(at)
            self._left_out[split] += len(rows) - len(kept)
            splits[split] = rows.take(np.array(kept, np.int64))
            if split == TRAIN and not kept:
                raise DataError(
                    f"data.exclude: {self.path} names all training rows of '{source}'; take lines out of it"
                )

    def _meet(self, place: Place, own: str) -> None:
        """Note that a row of the list is there; raise DataError where it is another one."""
        self._met.add(place)
        file, number = place
        named = self._named[place]
        if named.digest is not None and named.digest == self._digests.get(file):
            return
        # Where a file has no ids, they are the numbers of its rows.
        if named.id is None or str(number) in (named.id, own):
            if named.digest is not None:
                self._unsure[file] = None
        elif named.id != own:
            raise DataError(
                f"data.exclude: {self.path} names {file}:{number} as the row '{named.id}', and that is '{own}' now: "
                "the file has changed since. Audit again, or correct the rows of the list"
            )

    def told(self) -> list[str]:
        """Return how many rows are left out, in words, and of which files they may be others by now.

        Raises DataError where the list names none of the rows.
        """
        if self.path is None:
            return []
        if self._named and not self._met:
            file, number = min(self._named)
            raise DataError(
                f"data.exclude: {self.path} names {len(self._named)} rows and none of this experiment's, such as "
                f"{file}:{number}; files are named as the audit found them. Audit again, or take the key out"
            )
        counts = ", ".join(f"{count} {split}" for split, count in self._left_out.items() if count)
        others = len(self._named) - len(self._met)
        unknown = f"; {others} others that it names are no rows of this experiment" if others else ""
        changed = [
            f"data.exclude: {file} has changed since {self.path} was written, and its rows have no ids: other rows "
            "than were meant may be left out. Audit again"
            for file in self._unsure
        ]
        return [f"data.exclude: {counts or 'no'} rows are left out, as {Path(self.path).name} says{unknown}", *changed]


def _places(path: Path) -> dict[Place, _Named]:
    found: dict[Place, _Named] = {}
    try:
        # Not splitlines: a text may hold other ends of lines, which JSON leaves as they are.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.exclude: {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found |= _place(line, f"data.exclude: {path}:{number}")
    return found


def _place(line: str, where: str) -> dict[Place, _Named]:
    wanted = 'each line is an object with "file" and "row", as jenga audit writes them'
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON ({error}); {wanted}") from error
    if not isinstance(found, dict) or "file" not in found or "row" not in found:
        raise DataError(f"{where}: got {line[:80]}; {wanted}")
    if found["row"] is None:
        return {}
    if not isinstance(found["file"], str) or type(found["row"]) is not int:
        raise DataError(f"{where}: file {found['file']!r}, row {found['row']!r}; expected a name and a number")
    own, digest = (None if found.get(key) is None else str(found[key]) for key in ("id", ROWS_DIGEST))
    return {(found["file"], found["row"]): _Named(own, digest)}
