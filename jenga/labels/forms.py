"""How the cells of a head are to be read, decided once by its training rows; what could be read otherwise is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jenga.labels.base import kind_named
from jenga.labels.cells import CellReading, Repeated, counted, folded
from jenga.labels.column import HeadColumn, RowError, read_cell, show, some_of


@dataclass(frozen=True)
class Settled:
    """A head with its reading decided, the cells that hold a label, and what to tell of it."""

    column: HeadColumn
    labels: Sequence[Any]
    warnings: list[str]


def settle(column: HeadColumn, cells: Sequence[Any]) -> Settled:
    """Decide what `column` leaves open by `cells`, the head's training cells that are not null; blank ones are there.

    What the configuration, or the training of a saved model, has decided stays as it is, and nothing is told of it.
    """
    settled, warnings = kind_named(column.kind).settle(column, cells)
    found = [(cell, count) for cell, count in counted(cells) if not settled.cells.is_missing(cell)]
    labels = Repeated(found) if isinstance(cells, Repeated) else [cell for cell, _ in found]
    if column.cells.missing is None:
        warnings = [*_missing_words(settled, cells), *warnings]
    return Settled(settled, labels, [f"{column.where}: {words}" for words in warnings])


def with_missing(column: HeadColumn, usual: Collection[str], *, blank: bool = True) -> CellReading:
    """Return the reading with its words for no label: those given, else the usual ones; a configured label is none."""
    given = column.cells.missing
    words = tuple(usual if given is None else given)
    words = (*words, "") if blank and "" not in words else words
    labels = folded(column.labels or ())
    return replace(column.cells, missing=tuple(word for word in words if word.strip().casefold() not in labels))


def readable(cells: Sequence[Any]) -> list[Any]:
    """Return the cells, those that hold JSON read, without those that cannot be."""
    found = []
    for cell in cells:
        try:
            found.append(read_cell(cell, ""))
        except RowError:
            continue
    return found


def times(words: Counter[str]) -> str:
    """Return words with the number of cells that hold each."""
    return some_of(f"{count} cells {show(word)}" for word, count in words.most_common())


def _missing_words(column: HeadColumn, cells: Sequence[Any]) -> list[str]:
    found: Counter[str] = Counter()
    for cell, count in counted(cells):
        if isinstance(cell, str) and column.cells.is_missing(cell):
            found[cell.strip()] += count
    found.pop("", None)
    if not found:
        return []
    return [f"{times(found)} are read as missing labels; `missing_values` of the head says what is missing"]
