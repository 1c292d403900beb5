"""Turns and batches by the tokens of their rows together, however many rows that are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from jenga.rows.order import OnDemand, permutation, smallest

SHARING = 8
"""Turns at the end of a pass that are made even. All of a pass cannot be: a token less of each makes another turn."""
ATTENDED = 2
"""Places of a batch, for each of its tokens at most, where attention alone computes padding.

Else one long row beside many short ones makes attention the most of a step: 32 rows of CLINC150 with calls among them
take five times the memory and three times the time (benchmarks/token_steps.py)."""


class Budgeted:
    """The turns of one source, pass after pass over its rows, of at most `tokens` tokens each; see `Sampler`.

    In each pass the rows are shuffled, and taken in this order until the next one would be too many: passes differ in
    their number of turns, which is known once a pass is dealt. A row of more tokens is a turn by itself. The last few
    turns of a pass are made even, lest one be of what is left over. Turns are numbered over all passes, from 0.
    """

    def __init__(self, lengths: np.ndarray, tokens: int, *, rng: Callable[[int], np.random.Generator]) -> None:
        """lengths: tokens of each row. rng: returns what a pass is drawn from, by its number."""
        assert len(lengths), "a source without rows"
        self.lengths, self.tokens, self.rng = lengths, tokens, rng
        self._firsts = [0]
        self._passes: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def first(self, passes: Fraction) -> int:
        """Return the number of the turn behind `passes` passes, of whose last one there may be a part."""
        whole, part = divmod(passes, 1)
        self._count(whole + (part > 0))
        first = self._firsts[whole]
        return first + (round(part * (self._firsts[whole + 1] - first)) if part else 0)

    def rows(self, number: int) -> list[int]:
        """Return the rows of the turn `number`, the shorter ones first."""
        while self._firsts[-1] <= number:
            self._count(len(self._firsts))
        which_pass = bisect_right(self._firsts, number) - 1
        at = number - self._firsts[which_pass]
        order, stops = self._dealt(which_pass)
        own = order[stops[at - 1] if at else 0 : stops[at]]
        return [int(row) for row in own[np.argsort(self.lengths[own], kind="stable")]]

    def _count(self, passes: int) -> None:
        """Know where each of the first `passes` passes ends; of those counted nothing else is kept."""
        for which_pass in range(len(self._firsts) - 1, passes):
            stops = stops_within(self.lengths[self._order(which_pass)], self.tokens)
            self._firsts.append(self._firsts[-1] + len(stops))

    def _order(self, which_pass: int) -> np.ndarray:
        return permutation(self.rng(which_pass), len(self.lengths))

    def _dealt(self, which_pass: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the order of the rows of a pass, and where in it each turn ends."""
        if which_pass not in self._passes:
            # Batches are made ahead: where a pass begins, turns of the one before are asked for, too.
            self._passes = {k: v for k, v in self._passes.items() if k == which_pass - 1}
            order = self._order(which_pass)
            self._passes[which_pass] = order, even_stops(self.lengths[order], self.tokens)
        return self._passes[which_pass]


def stops_within(lengths: np.ndarray, tokens: int) -> np.ndarray:
    """Return the ends of the fewest parts of `lengths`, in their order, that have at most `tokens` together.

    One that has more is a part by itself.
    """
    sums = np.cumsum(lengths)
    stops, at, done = [], 0, 0
    while at < len(lengths):
        at = max(at + 1, int(np.searchsorted(sums, done + tokens, side="right")))
        stops.append(at)
        done = int(sums[at - 1])
    return np.array(stops, smallest(len(lengths)))


def even_stops(lengths: np.ndarray, tokens: int) -> np.ndarray:
    """Return what `stops_within` does, but for the last parts, which share what the very last would have too few of."""
    stops = stops_within(lengths, tokens)
    kept = stops[:-SHARING]
    start = int(kept[-1]) if len(kept) else 0
    rest, last = lengths[start:], stops[-SHARING:] - start
    # Below the longest of those that share a part, that one would be by itself.
    low, high = int(rest[rest <= tokens].max(initial=0)), tokens
    while low < high:
        middle = (low + high) // 2
        found = stops_within(rest, middle)
        if len(found) > len(last):
            low = middle + 1
        else:
            last, high = found, middle
    return np.concatenate([kept, last + start])


def batches_within(rows: Sequence[int], lengths: np.ndarray, tokens: int, *, padded: bool) -> list[list[int]]:
    """Cut the rows of a turn into batches of at most `tokens` tokens, rows of like length together.

    padded: padding counts as tokens do; else there may be as much of it as is spared but in attention. A row that has
    more is a batch by itself. lengths: of all rows of the source.
    """
    own, places = lengths[list(rows)], tokens if padded else ATTENDED * tokens
    if own.sum() <= tokens and own.max(initial=0) * len(own) <= places:
        return [list(rows)] if len(own) else []
    order = np.argsort(own, kind="stable")[::-1]
    stops = _batch_stops(own[order], tokens, places)
    found = [rows[at] for at in order.tolist()]
    return [found[start:stop] for start, stop in zip([0, *stops[:-1]], stops, strict=True)]


def longest_within(lengths: np.ndarray, tokens: int) -> OnDemand[list[int]]:
    """Return the rows of each batch of at most `tokens` with its padding, those of the greatest `lengths` first."""
    order = np.argsort(lengths, kind="stable")[::-1].astype(smallest(len(lengths)))
    stops = _batch_stops(lengths[order], tokens, tokens)

    def batch(at: int) -> list[int]:
        rows: list[int] = order[stops[at - 1] if at else 0 : stops[at]].tolist()
        return rows

    return OnDemand(batch, range(len(stops)))


def _batch_stops(longest_first: np.ndarray, tokens: int, places: int) -> np.ndarray:
    """Return the ends of the fewest batches of lengths that fall, of at most `tokens`, and `places` with padding."""
    sums = np.cumsum(longest_first)
    stops, at, done = [], 0, 0
    while at < len(longest_first):
        fitting = int(np.searchsorted(sums, done + tokens, side="right"))
        at = max(at + 1, min(fitting, at + places // max(1, int(longest_first[at]))))
        stops.append(at)
        done = int(sums[at - 1])
    return np.array(stops, smallest(len(longest_first)))
