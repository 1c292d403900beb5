"""How many edits lie between what was said and what was written (Levenshtein 1966)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def edits(said: Sequence[Hashable], written: Sequence[Hashable]) -> int:
    """Return the fewest insertions, deletions and replacements that make `said` of `written`."""
    known: dict[Hashable, int] = {}
    wanted, found = (np.array([known.setdefault(each, len(known)) for each in side]) for side in (said, written))
    places = np.arange(len(found) + 1)
    # Row by row of the table: `best[j]` of the first j that were written.
    best = places.copy()
    for count, each in enumerate(wanted, start=1):
        row = np.concatenate([[count], np.minimum(best[1:] + 1, best[:-1] + (found != each))])
        # An insertion takes from the place before it in the same row: the least of all before, at one a place.
        best = np.minimum.accumulate(row - places) + places
    return int(best[-1])
