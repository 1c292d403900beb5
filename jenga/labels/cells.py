"""What single cells of a label column say: nothing, yes, no, a class, or several labels with a mark between them."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, repeat
from typing import Any

from numpy.typing import NDArray

MISSING = ("", "n/a", "na", "null", "none", "nan", "#n/a", "<na>", "-")
"""Words for a label that is not there, case aside."""

YES = ("1", "yes", "y", "true", "t", "ja", "ndiyo", "ndio", "oui", "si", "sí", "sim", "pass", "passed", "met", "✓", "✔")
NO = (
    "0",
    "no",
    "n",
    "false",
    "f",
    "nein",
    "nee",
    "nej",
    "hapana",
    "non",
    "não",
    "nao",
    "fail",
    "failed",
    "not met",
    "✗",
    "✘",
)
"""Words for an item that holds, and for one that does not, case aside."""

PAIRS = (
    ("1", "0"), ("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("ja", "nein"), ("ja", "nee"), ("ja", "nej"),
    ("ndiyo", "hapana"), ("ndio", "hapana"), ("oui", "non"), ("si", "no"), ("sí", "no"), ("sim", "não"), ("sim", "nao"),
    ("pass", "fail"), ("passed", "failed"), ("met", "not met"), ("✓", "✗"), ("✔", "✘"),
)  # fmt: skip
"""Words for yes and no that people use together."""

WHOLE = ""
"""The separator of cells that are one label each."""

_INTEGER = re.compile(r"\s*([+-]?\d{1,18})(?:\.0*)?\s*")


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN or blank text."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and value != value)


class Repeated(Sequence[Any]):
    """Cells with how often each occurs: as many as stand in the rows, equal ones together."""

    def __init__(self, counts: Sequence[tuple[Any, int]]) -> None:
        self.counts = counts
        self._length = sum(count for _, count in counts)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(repeat(cell, count) for cell, count in self.counts)

    def __getitem__(self, at: Any) -> Any:
        return list(self)[at] if isinstance(at, slice) else next(islice(self, at % max(1, len(self)), None))


def counted(cells: Sequence[Any]) -> Iterable[tuple[Any, int]]:
    """Yield cells with how often each occurs; where that is not known, each with 1."""
    return cells.counts if isinstance(cells, Repeated) else ((cell, 1) for cell in cells)


class Tally:
    """Counts the cells of a column that are neither null nor NaN, as long as they are few and of simple types."""

    MOST = 1 << 16

    def __init__(self) -> None:
        self._counts: dict[Any, int] | None = {}

    def add(self, cell: Any, count: int = 1) -> None:
        """Count a cell."""
        counts = self._counts
        if counts is None or cell is None or cell != cell:
            return
        # 1, 1.0 and True are equal and are no one label.
        key = cell if type(cell) is str else (type(cell), cell)
        try:
            counts[key] = counts.get(key, 0) + count
        except TypeError:  # a list, or an object
            self._counts = None
            return
        if len(counts) > self.MOST:
            self._counts = None

    def merge(self, other: Tally) -> None:
        """Count what `other` has counted."""
        if (theirs := other.cells()) is None:
            self._counts = None
            return
        for cell, count in theirs.counts:
            self.add(cell, count)

    def cells(self) -> Repeated | None:
        """Return the cells in the order in which they came; None where they are too many or no simple ones."""
        if self._counts is None:
            return None
        return Repeated([(key if type(key) is str else key[1], count) for key, count in self._counts.items()])


def json_text(value: Any) -> str:
    """Return `value` as JSON for messages and quarantine files; half a character becomes ``?``."""
    return json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace").decode()


def class_name(value: Any) -> str | int | None:
    """Return a class as the data names it: an integer (also from ``true``, ``3.0`` and ``"3"``), a name, or None.

    Blanks around a name are no part of it.
    """
    if isinstance(value, str):
        match = _INTEGER.fullmatch(value)
        return int(match[1]) if match else value.strip()
    if isinstance(value, (bool, int)):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def folded(words: Iterable[str]) -> frozenset[str]:
    """Return words as they are compared: without blanks around them, case aside."""
    return frozenset(word.strip().casefold() for word in words)


@dataclass(frozen=True)
class CellReading:
    """How the cells of a head are read; fixed before training and saved with the model.

    `missing`: words for no label. `true`, `false`: words for an item's marks. `separator`: what parts the labels of one
    cell, ``WHOLE`` where nothing does. `marks`: whether words are marks of items and not names. None of `missing`,
    `separator` and `marks`: not decided yet; then only blank cells are missing, and words are whole names.
    `unit`: what the offsets of entities count: characters, utf16 or bytes. `partial_words`: what becomes of an entity
    that begins or ends inside a word: its row is refused (refuse), or it takes in the whole word (widen). `lowercase`:
    transcripts are read in lower case.
    """

    missing: tuple[str, ...] | None = None
    true: tuple[str, ...] = YES
    false: tuple[str, ...] = NO
    separator: str | None = None
    marks: bool | None = None
    unit: str = "characters"
    partial_words: str = "refuse"
    lowercase: bool = False

    def is_missing(self, value: Any) -> bool:
        """Whether a cell says that there is no label: null, NaN, or a word for it."""
        return value.strip().casefold() in self._missing if isinstance(value, str) else is_missing(value)

    def mark(self, value: Any) -> float | None:
        """Return 1.0 for yes, 0.0 for no, None for anything else."""
        if (name := class_name(value)) is None:
            return None
        word = str(name).casefold()
        if word in self._true or word in self._false:
            return float(word in self._true)
        return float(name) if isinstance(name, int) and name in (0, 1) else None

    def parts(self, text: str) -> list[str]:
        """Return the labels that a cell names, or its marks, blank ones too; none where it is blank."""
        return parted(text, self.separator or WHOLE, blanks=bool(self.marks))

    @cached_property
    def _missing(self) -> frozenset[str]:
        return folded(("",) if self.missing is None else self.missing)

    @cached_property
    def _true(self) -> frozenset[str]:
        return folded(self.true)

    @cached_property
    def _false(self) -> frozenset[str]:
        return folded(self.false)


def parted(text: str, separator: str, *, blanks: bool = False) -> list[str]:
    """Return what stands between the separators, without the blanks around it.

    blanks: keep parts that are blank, as the places of marks, where any is not.
    """
    parts = [part.strip() for part in (text.split(separator) if separator else [text])]
    return parts if blanks and any(parts) else [part for part in parts if part]


class CellReader(ABC):
    """A `jenga.labels.base.Reader` of labels that are one a row. `missing`: the label of a cell without one."""

    where: str
    cells: CellReading
    missing: Any
    unseen_do: str = "count as wrong"

    def __init__(self) -> None:
        self.notes: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()

    def is_missing(self, value: Any) -> bool:
        """Whether a cell holds no label."""
        return self.cells.is_missing(value)

    @abstractmethod
    def encode(self, value: Any) -> Any:
        """Return the label in a cell that holds one. Raises RowError."""

    @abstractmethod
    def stack(self, codes: Sequence[Any]) -> NDArray[Any]:
        """Return labels of M rows as one column."""

    def by_space(self, value: Any) -> bool:
        """Return False: the label is the row's."""
        return False

    def read(self, value: Any, text: str, words: Sequence[tuple[int, int]]) -> Any:
        """Return the label in a cell, `missing` where there is none. Raises RowError."""
        return self.missing if self.is_missing(value) else self.encode(value)
