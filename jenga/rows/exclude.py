"""Rows that a list of findings names, left out of training and judging."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from jenga.errors import DataError
from jenga.rows.parse import Rows
from jenga.rows.split import TRAIN


class Excluded:
    """The rows of ``data.exclude``: JSON Lines with ``file`` and ``row``, such as audit.jsonl.

    Lines whose ``row`` is null are about no single row. Raises DataError for a file that is no such list.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._named = set() if path is None else _places(Path(path))
        self._met: set[tuple[str, int]] = set()
        self._left_out: Counter[str] = Counter()

    def take_out(self, splits: dict[str, Rows], source: str) -> None:
        """Take the rows out of `splits` of `source`. Raises DataError where that leaves no training row."""
        for split, rows in splits.items() if self._named else ():
            places = list(zip(rows.files, rows.numbers, strict=True))
            kept = [at for at, place in enumerate(places) if place not in self._named]
            self._met |= self._named.intersection(places)
            self._left_out[split] += len(rows) - len(kept)
            splits[split] = rows.take(np.array(kept, np.int64))
            if split == TRAIN and not kept:
                raise DataError(
                    f"data.exclude: {self.path} names all training rows of '{source}'; take lines out of it"
                )

    def told(self) -> list[str]:
        """Return how many rows are left out, in words. Raises DataError where the list names none of the rows."""
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
        return [f"data.exclude: {counts or 'no'} rows are left out, as {Path(self.path).name} says{unknown}"]


def _places(path: Path) -> set[tuple[str, int]]:
    found = set()
    try:
        # Not splitlines: a text may hold other ends of lines, which JSON leaves as they are.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.exclude: {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            place = _place(line, f"data.exclude: {path}:{number}")
            if place is not None:
                found.add(place)
    return found


def _place(line: str, where: str) -> tuple[str, int] | None:
    wanted = 'each line is an object with "file" and "row", as jenga audit writes them'
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON ({error}); {wanted}") from error
    if not isinstance(found, dict) or "file" not in found or "row" not in found:
        raise DataError(f"{where}: got {line[:80]}; {wanted}")
    if found["row"] is None:
        return None
    if not isinstance(found["file"], str) or type(found["row"]) is not int:
        raise DataError(f"{where}: file {found['file']!r}, row {found['row']!r}; expected a name and a number")
    return found["file"], found["row"]
