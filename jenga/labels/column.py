"""Where the labels of a head stand in rows, and what is said of rows that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jenga.errors import suggest
from jenga.labels.cells import CellReading, json_text

NORMAL_NAMES = ("normal", "benign", "legitimate", "legit", "good", "clean", "ok", "false", "0")
"""What the class of normal rows is called where the configuration does not say; the first of these that is a label."""


@dataclass(frozen=True)
class HeadColumn:
    """Where the labels of one head stand, and what the configuration says of them.

    `candidates`: dotted columns; the first that occurs in the rows is used. `size` and `labels`: as configured.
    `absent`: the class of every row of a file without such a column, where the head learns what is normal without
    labels; None: the column must be there. `written`: the configuration names the column; it is not the default one.
    `open`: the labels are made up of the normal class and one for all that is not: any other label means the second.
    `cells`: how the cells are read. `joined`: the names of labels that stand in a column each, those of `candidates`;
    () where one column has them all.
    """

    task: str
    head: str
    kind: str
    candidates: tuple[str, ...]
    size: int | None
    labels: tuple[str, ...] | None
    absent: str | None = None
    written: bool = False
    open: bool = False
    cells: CellReading = field(default_factory=CellReading)
    joined: tuple[str, ...] = ()

    @property
    def own_name(self) -> str:
        """The name of the only label of a head where nothing else names it: its column's, else the head's."""
        return self.candidates[0].rpartition(".")[2] if self.written and len(self.candidates) == 1 else self.head

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


class BlankError(RowError):
    """A row has no content: its text, or what else it is read for, is blank."""


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


def numbered_names(size: int) -> tuple[str, ...]:
    """Return the names of labels that have none: their positions."""
    return tuple(map(str, range(size)))


def encodable(text: str, column: str) -> str:
    """Return `text`. Raises RowError where it cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RowError(f"column '{column}' holds half of a character (a lone surrogate)") from None
    return text
