"""Cells of classes, and the names that stand in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jenga.errors import DataError, suggest
from jenga.labels.base import Span
from jenga.labels.cells import MISSING, CellReader, class_name, counted
from jenga.labels.column import NORMAL_NAMES, HeadColumn, RowError, near, numbered_names, show, some_of
from jenga.labels.spaces import sized
from jenga.labels.unseen import may_be_unseen, unseen_code
from jenga.types import IGNORE_INDEX, HeadSpace

# Integer classes this sparse are identifiers, and a head for each number up to the largest would be mostly dead.
_SPARSE_FACTOR, _SPARSE_OFFSET = 10, 100


class ClassReader(CellReader):
    """One of K classes: int64 scalar, -100 where missing."""

    missing = IGNORE_INDEX

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        super().__init__()
        self.where = column.where
        self.space = space
        self.open = column.open
        self.may_be_unseen = may_be_unseen(column)
        self.cells = column.cells
        self.index = {name: position for position, name in enumerate(space.labels)}
        self.plain = {name: at for name, at in self.index.items() if not self.is_missing(name)}
        self.numbered = numbered = any(isinstance(class_name(name), int) for name in space.labels)
        # As JSON writes them, or Python ("True").
        self.truth = {name.lower(): at for name, at in self.index.items() if name.lower() in ("false", "true")}
        # An integer is a position only where the configuration gave the order of the names, or they are false, true.
        self.by_position = not numbered and (column.labels is not None or space.labels == ("false", "true"))

    def read(self, value: Any, text: str, words: Sequence[Span]) -> int:
        """Return the class id of the label in a cell, -100 where there is none. Raises RowError."""
        if type(value) is str and (code := self.plain.get(value)) is not None:
            return code
        found: int = super().read(value, text, words)
        return found

    def encode(self, value: Any) -> int:
        """Return the class id of a label, a code of its own for one that no training row has; raises RowError."""
        if isinstance(value, str) and value in self.index:
            return self.index[value]
        if self.truth and str(value).strip().lower() in self.truth:
            return self.truth[str(value).strip().lower()]
        name = class_name(value)
        if str(name) in self.index and name is not None:
            return self.index[str(name)]
        if self.by_position and isinstance(name, int) and 0 <= name < self.space.size:
            return name
        if self.open and name is not None:
            return 0 if str(name).strip().lower() in NORMAL_NAMES else 1
        if self.may_be_unseen and self._is_like_the_others(name):
            self.unseen[f"{show(value)}{suggest(str(name), self.index)}"] += 1
            return unseen_code(str(name))
        if isinstance(name, int):
            raise RowError(f"{self.where}: class {name} is not one of {self.space.size}. {self._allowed()}")
        hint = f", or set `missing_values: [{show(value)}]` of the head" if str(name).casefold() in MISSING else ""
        raise RowError(f"{self.where}: {show(value)} is no class{near(value, self.index)} {self._allowed()}{hint}")

    def stack(self, codes: Sequence[int]) -> np.ndarray:
        """Return int64 ``(M,)``."""
        return np.array(codes, dtype=np.int64)

    def _is_like_the_others(self, name: str | int | None) -> bool:
        """Whether a class could be one: a name among names, and no word for none; a number among numbers from 0 on."""
        if isinstance(name, int):
            return self.numbered and name >= 0
        return name is not None and not self.numbered and name.casefold() not in MISSING

    def _allowed(self) -> str:
        return f"Allowed: {some_of(self.space.labels)}; null where there is none"


def class_names(column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> tuple[str, ...]:
    """Return the names of the classes in `values`, sorted; integers count from 0. () where there are none.

    A few rows, at most `max_bad_fraction`, may be mistakes. Raises DataError where they contradict `column`.
    """
    if column.labels is not None:
        return column.labels
    found = list(counted(values))
    if found and all(isinstance(value, bool) for value, _ in found):
        return sized(column, ("false", "true"))
    names = [class_name(value) for value, _ in found]
    if any(isinstance(value, bool) for value, _ in found) and any(isinstance(name, str) for name in names):
        # JSON's true beside names is that name, not the class 1.
        names = [
            str(value).lower() if _is_truth(value) else name for (value, _), name in zip(found, names, strict=True)
        ]
    counts: Counter[str | int] = Counter()
    for name, (_, count) in zip(names, found, strict=True):
        if name is not None:
            counts[name] += count
    if counts and all(isinstance(name, int) for name in counts):
        return _integer_classes(column, {int(name): count for name, count in counts.items()}, max_bad_fraction)
    return sized(column, tuple(sorted(map(str, counts)))) if counts else ()


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("false", "true"))


def _integer_classes(column: HeadColumn, counts: dict[int, int], max_bad_fraction: float) -> tuple[str, ...]:
    shown = some_of(map(str, sorted(counts)))
    fix = "name the classes in `labels`, or renumber them from 0"
    if column.size is not None:
        beyond = sum(count for value, count in counts.items() if not 0 <= value < column.size)
        if beyond > max_bad_fraction * sum(counts.values()):
            raise DataError(
                f"{column.where}: the rows hold {len(counts)} classes ({shown}), but num_labels is {column.size}, "
                f"which allows 0 to {column.size - 1}; {fix}"
            )
        return numbered_names(column.size)
    first, last = min(counts), max(counts)
    if first != 0 and last - first == len(counts) - 1 > 0:
        # Grades from 1 to 5, or -1, 0 and 1, are the numbers that they are; a class 0 would never be seen.
        return tuple(map(str, range(first, last + 1)))
    if first < 0 or last >= _SPARSE_FACTOR * len(counts) + _SPARSE_OFFSET:
        raise DataError(f"{column.where}: the classes {shown} are not numbers that count from 0; {fix}")
    return numbered_names(last + 1)
