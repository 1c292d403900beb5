"""How well events in time are found: by segments and by onsets (Mesaros et al. 2016, sections 4.1 and 4.2)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

SEGMENT_S = 1.0
COLLAR_S = 0.2
"""Seconds of a segment, and by which an onset may be wrong."""
_DIGITS = 6
"""Of seconds: those of frames are products, which are off by a bit."""

Counts = tuple[Counter[int], Counter[int], Counter[int]]
"""What was found, found wrongly, and missed, by class."""
Pairs = Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Wanted and found events of each row: start, end, class, and what else there is of them."""


def segment_counts(pairs: Pairs) -> Counts:
    """Count segments: a class is there in each segment that one of its events has a part of."""
    hits, alarms, misses = Counter[int](), Counter[int](), Counter[int]()
    for wanted, found in pairs:
        gold, heard = _segments(wanted), _segments(found)
        hits.update(code for code, _ in gold & heard)
        alarms.update(code for code, _ in heard - gold)
        misses.update(code for code, _ in gold - heard)
    return hits, alarms, misses


def onset_counts(pairs: Pairs) -> Counts:
    """Count events: one is found by another of its class that starts within `COLLAR_S` of it, each by one at most."""
    hits, alarms, misses = Counter[int](), Counter[int](), Counter[int]()
    for wanted, found in pairs:
        for code in {int(code) for code in (*wanted[:, 2], *found[:, 2])}:
            gold, heard = (np.sort(side[side[:, 2] == code, 0]) for side in (wanted, found))
            matched = _matched(gold, heard)
            hits[code] += matched
            alarms[code] += len(heard) - matched
            misses[code] += len(gold) - matched
    return hits, alarms, misses


def f1(counts: Sequence[Counter[int]]) -> float | None:
    """Return the F1 over all classes of `counts`; None where nothing was wanted and nothing found."""
    hits, alarms, misses = (each.total() for each in counts)
    return 2 * hits / (2 * hits + alarms + misses) if hits + alarms + misses else None


def _segments(events: NDArray[np.float64]) -> set[tuple[int, int]]:
    """Return the class and the number of each segment that an event has a part of."""
    return {
        (int(code), segment)
        for start, end, code in events[:, :3].round(_DIGITS).tolist()
        for segment in range(math.floor(start / SEGMENT_S), math.ceil(end / SEGMENT_S))
    }


def _matched(gold: Iterable[float], heard: NDArray[np.float64]) -> int:
    """Return how many onsets have a partner. Both in order; taking the earliest free one gives the most pairs."""
    at = count = 0
    collar = COLLAR_S + 10**-_DIGITS
    for onset in gold:
        while at < len(heard) and heard[at] < onset - collar:
            at += 1
        if at < len(heard) and heard[at] <= onset + collar:
            count, at = count + 1, at + 1
    return count
