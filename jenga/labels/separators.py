"""Which mark parts several labels of one cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from jenga.labels.cells import WHOLE, parted

SEPARATORS = ("|", ";", ",")
_RECUR = 0.75
"""Share of the parts that must stand in other cells too, for a mark inside cells to be a separator."""


def find_separator(texts: Counter[str], names: Collection[str]) -> tuple[str, str]:
    """Return the mark that parts several labels of a cell, and a cell with it; where none does, a cell that might.

    texts: cells with their counts. names: the labels, where the configuration lists them. Otherwise a mark parts
    labels where three quarters of the parts stand in other cells too, alone or among others: those of one label that
    merely holds the mark, such as "fees, charges", do not.
    """
    doubtful = ""
    for mark in SEPARATORS:
        cells = {text: parted(text, mark) for text in texts if mark in text and text not in names}
        if not cells:
            continue
        homes = Counter(part for text in texts for part in set(cells.get(text, (text,))))
        total = sum(texts[text] * len(parts) for text, parts in cells.items())
        known = sum(
            texts[text] * sum(part in names if names else homes[part] > 1 for part in parts)
            for text, parts in cells.items()
        )
        # The plainest cell to show: one of the shortest with the mark.
        example = min(cells, key=lambda text: (len(cells[text]) < 2, len(text), text))
        if total and known >= _RECUR * total:
            return mark, example
        doubtful = doubtful or example
    return WHOLE, doubtful
