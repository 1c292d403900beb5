"""What single cells of a label column say: nothing, yes, no, a class, or several labels with a mark between them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
