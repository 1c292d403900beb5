"""Labels of rows as arrays: one of K classes, K yes/no items, K numbers. (Tags of words: `jenga.data.tags`.)"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jenga.data.cells import MISSING, CellReading, class_name
from jenga.data.readers import json_text
from jenga.errors import suggest
from jenga.types import IGNORE_INDEX, HeadSpace, LabelKind

_LARGEST = float(np.finfo(np.float32).max)
NORMAL_NAMES = ("normal", "benign", "legitimate", "clean", "ok", "false", "0")
"""What the class of normal rows is called where the configuration does not say; the first of these that is a label."""


@dataclass(frozen=True)
class HeadColumn:
    """Where the labels of one head stand, and what the configuration says of them.

    `candidates`: dotted columns; the first that occurs in the rows is used. `size` and `labels`: as configured.
    `absent`: the class of every row of a file without such a column, where the head learns what is normal without
    labels; None: the column must be there. `written`: the configuration names the column; it is not the default one.
    `open`: the labels are made up of the normal class and one for all that is not: any other label means the second.
    `cells`: how the cells are read.
    """

    task: str
    head: str
    kind: LabelKind
    candidates: tuple[str, ...]
    size: int | None
    labels: tuple[str, ...] | None
    absent: str | None = None
    written: bool = False
    open: bool = False
    cells: CellReading = field(default_factory=CellReading)

    @property
    def where(self) -> str:
        """The head in messages."""
        return f"head '{self.task}.{self.head}'"

    @property
    def key(self) -> tuple[str, str]:
        """Task and head."""
        return self.task, self.head


class RowError(ValueError):
    """A row cannot be used; the message is the reason."""


def show(value: Any) -> str:
    """Return a value from the data for a message, cut to a readable length."""
    words = json_text(value)
    return words if len(words) <= 80 else f"{words[:77]}..."


def some_of(names: Iterable[str]) -> str:
    """Return the first names of a list, and how many there are if that is not all."""
    names = list(names)
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])}, ... ({len(names)} in all)"


def near(name: Any, known: Iterable[str]) -> str:
    """Return a suggestion for a message, or the full stop that ends the sentence without one."""
    return suggest(str(name), known) or "."


def read_cell(value: Any, where: str) -> Any:
    """Return the list or object that a table's cell holds as JSON, and any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise RowError(f"{where}: {show(value)} is not JSON; write lists and objects in a table as JSON") from None
    return value


def usual_normal(labels: Iterable[str]) -> int | None:
    """Return the position of the label that is called as normal rows usually are, None without one."""
    lower = [label.lower() for label in labels]
    return next((lower.index(name) for name in NORMAL_NAMES if name in lower), None)


class ClassLabels:
    """One of K classes: int64 scalar, -100 where missing."""

    missing = IGNORE_INDEX

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        self.where = column.where
        self.space = space
        self.open = column.open
        self.cells = column.cells
        self.index = {name: position for position, name in enumerate(space.labels)}
        numbered = any(isinstance(class_name(name), int) for name in space.labels)
        # As JSON writes them, or Python ("True").
        self.truth = {name.lower(): at for name, at in self.index.items() if name.lower() in ("false", "true")}
        # An integer is a position only where the configuration gave the order of the names, or they are false, true.
        self.by_position = not numbered and (column.labels is not None or space.labels == ("false", "true"))

    def is_missing(self, value: Any) -> bool:
        """Whether a cell holds no label."""
        return self.cells.is_missing(value)

    def encode(self, value: Any) -> int:
        """Return the class id of a label; raises RowError."""
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
        if isinstance(name, int):
            raise RowError(f"{self.where}: class {name} is not one of {self.space.size}. {self._allowed()}")
        hint = f", or set `missing_values: [{show(value)}]` of the head" if str(name).casefold() in MISSING else ""
        raise RowError(f"{self.where}: {show(value)} is no class{near(value, self.index)} {self._allowed()}{hint}")

    def stack(self, codes: Sequence[int]) -> np.ndarray:
        """Return int64 ``(M,)``."""
        return np.array(codes, dtype=np.int64)

    def _allowed(self) -> str:
        return f"Allowed: {some_of(self.space.labels)}; null where there is none"


class ItemLabels:
    """K independent yes/no items: float32 ``(K,)``, NaN where missing."""

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        self.where = column.where
        self.cells = column.cells
        self.index = {name: position for position, name in enumerate(space.labels)}
        self.size = space.size
        # Items that are only numbered have no names to list.
        self.named = space.labels != numbered_names(space.size)
        self.missing = np.full(space.size, np.nan, dtype=np.float32)

    def is_missing(self, value: Any) -> bool:
        """Whether a cell holds no label."""
        return self.cells.is_missing(value)

    def encode(self, value: Any) -> np.ndarray:
        """Return float32 ``(K,)`` of 0, 1 and NaN; raises RowError."""
        value = read_cell(value, self.where)
        if isinstance(value, dict):
            marks = self.missing.copy()
            for name, mark in value.items():
                marks[self._item(name)] = self._mark(mark)
            return marks
        if isinstance(value, str):
            value = self._words(value)
        elif self.size > 1 and not isinstance(value, list):
            raise self._no_list(value)
        if not isinstance(value, list):
            value = [value]
        if self._are_names(value):
            marks = np.zeros(self.size, dtype=np.float32)
            marks[[self._item(name) for name in value]] = 1
            return marks
        if len(value) != self.size:
            raise RowError(f"{self.where}: {len(value)} values for {self.size} items. {self._allowed()}")
        return np.array([self._mark(mark) for mark in value], dtype=np.float32)

    def stack(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 ``(M, K)``."""
        return np.array(codes, dtype=np.float32).reshape(len(codes), self.size)

    def _words(self, text: str) -> list[Any]:
        """Return what a cell of text says as a list: names of items, or marks."""
        if self.cells.marks:
            return self.cells.parts(text) or [text]
        if text.strip() in self.index and self.named:
            return [text]
        if self.cells.separator:
            return self.cells.parts(text)
        mark = self.cells.mark(text)
        if self.size == 1 and mark is not None:
            return [mark]
        if not text.strip() and self.named:
            return []
        raise self._no_list(text)

    def _are_names(self, words: list[Any]) -> bool:
        if not all(isinstance(word, str) for word in words) or not (words or self.named):
            return False
        return not self.cells.marks or (self.named and all(word.strip() in self.index for word in words))

    def _no_list(self, value: Any) -> RowError:
        return RowError(f"{self.where}: {show(value)} is no list of items. {self._allowed()}")

    def _item(self, name: str) -> int:
        name = name.strip()
        if name not in self.index and self.cells.is_missing(name):
            raise RowError(
                f"{self.where}: {show(name)} stands among items, but means that there is no label; give it alone, or "
                "set `missing_values` of the head to a list without it if it is an item"
            )
        if name not in self.index:
            raise RowError(f"{self.where}: {show(name)} is no item{near(name, self.index)} {self._allowed()}")
        return self.index[name]

    def _mark(self, mark: Any) -> float:
        if self.cells.is_missing(mark):
            return float("nan")
        if (said := self.cells.mark(mark)) is None:
            raise RowError(
                f"{self.where}: {show(mark)} is no mark of an item; allowed: 1, 0 and null, and the words of "
                "`true_values`, `false_values` and `missing_values`"
            )
        return said

    def _allowed(self) -> str:
        named = f", or item names: {some_of(self.index)}" if self.named else ""
        return f"Allowed: a list of {self.size} marks, each 1, 0 or null{named}"


class NumberLabels:
    """K numbers: float32 ``(K,)``, NaN where missing."""

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        self.where = column.where
        self.cells = column.cells
        self.size = space.size
        self.missing = np.full(space.size, np.nan, dtype=np.float32)

    def is_missing(self, value: Any) -> bool:
        """Whether a cell holds no label. NaN is one that went wrong, and is refused."""
        return self.cells.is_missing(value) and not isinstance(value, float)

    def encode(self, value: Any) -> np.ndarray:
        """Return float32 ``(K,)``; raises RowError."""
        value = read_cell(value, self.where)
        values = value if isinstance(value, list) else [value]
        if len(values) != self.size:
            raise RowError(f"{self.where}: {show(value)} holds {len(values)} numbers; allowed: {self.size}")
        return np.array([self._number(each) for each in values], dtype=np.float32)

    def stack(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 ``(M, K)``."""
        return np.array(codes, dtype=np.float32).reshape(len(codes), self.size)

    def _number(self, value: Any) -> float:
        if self.is_missing(value):
            return float("nan")
        try:
            number = float("nan") if isinstance(value, (bool, dict, list)) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not abs(number) <= _LARGEST:
            raise RowError(f"{self.where}: {show(value)} is no finite number; null where there is none")
        return number


def numbered_names(size: int) -> tuple[str, ...]:
    """Return the names of labels that have none: their positions."""
    return tuple(map(str, range(size)))
