"""Whose turn it is, and which rows: the order of training, a pure function of seed and epoch."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np

from jenga.rows.budget import Budgeted
from jenga.rows.order import OnDemand, permutation, smallest

BUCKET_TURNS = 8
"""Turns whose rows are sorted by length together. Wider groups pad less, but their batches are of one kind of row: with
50, scores of short runs fall by one to three points (benchmarks/README.md, learning)."""
_FINEST = 10_000
"""Epochs at most in which a source may have a whole number of passes."""


class Turn(NamedTuple):
    """The rows of one optimizer step, of one source; of a sampler in halves the shorter ones come first.

    `beside`: those of the other sources, where a step holds some of each. `tasks`: which of those that read the source
    learn from them; none named: all.
    """

    source: str
    rows: list[int]
    beside: tuple[Turn, ...] = ()
    tasks: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Turn, ...]:
        """The rows of each source."""
        return (self._replace(beside=()), *self.beside) if self.beside else (self,)

    @property
    def name(self) -> str:
        """The names of the sources, for messages and records."""
        return ", ".join(part.source for part in self.parts)

    @property
    def size(self) -> int:
        """How many rows it has of all sources."""
        return sum(len(part.rows) for part in self.parts)


class Sampler:
    """Deals the rows of several sources into turns.

    round_robin: sources take turns, those of the larger ones more often, so that all of them end together;
    proportional: the same turns in random order; temperature: each source gets turns in proportion to (its turns) **
    (1 / temperature), and goes on next epoch where it stopped, so that no row is left out for good; together: each turn
    has rows of every source, an epoch passes once over the source with the most turns, and the others begin again as
    often as that takes. Epochs can be asked for in any order.

    Rows of similar length share a turn. With `halves` any rows do, sorted, so that the turn's shorter half and its
    longer one can be run as two batches: these pad less than one would, and a step still sees rows of every length.

    Turns of a source in `tokens_per_turn` have as many rows as that many tokens allow, of any length, however the
    others are dealt. Its passes differ in their number of turns, and so do epochs; see `Budgeted`.
    """

    def __init__(
        self,
        lengths: Mapping[str, np.ndarray],
        *,
        kind: Literal["round_robin", "proportional", "temperature", "together"],
        rows_per_turn: int | Mapping[str, int],
        temperature: float,
        seed: int,
        halves: bool = False,
        passes: Mapping[str, float] | None = None,
        tokens_per_turn: Mapping[str, int] | None = None,
    ) -> None:
        """rows_per_turn: of all sources, or by source. passes: over a source in an epoch; default: one.

        tokens_per_turn: of the sources whose turns are planned by them.
        """
        self.lengths = dict(lengths)
        self.halves = halves
        self.kind = kind
        per_turn = dict.fromkeys(lengths, rows_per_turn) if isinstance(rows_per_turn, int) else dict(rows_per_turn)
        self.rows_per_turn: dict[str, int] = per_turn
        self.tokens_per_turn = dict(tokens_per_turn or {})
        self.seed = seed
        given = {} if kind == "together" or passes is None else passes
        self.passes = {name: Fraction(given.get(name, 1.0)).limit_denominator(_FINEST) for name in lengths}
        self._budgeted = {
            name: Budgeted(self.lengths[name], tokens, rng=partial(self._rng, name))
            for name, tokens in self.tokens_per_turn.items()
        }
        self._sources = self._dealt()
        self.full_turns = {name: each.first(Fraction(1)) for name, each in self._sources.items()}
        self.turns = {name: max(1, round(turns * self.passes[name])) for name, turns in self.full_turns.items()}
        if kind == "temperature":
            self.turns = _apportion(self.turns, temperature)
        self._longest = max(self.full_turns, key=self.full_turns.__getitem__, default="")
        if kind == "together":
            self.turns = dict.fromkeys(self.turns, self.full_turns[self._longest])

    def turns_in(self, epoch: int) -> int:
        """Return the turns of `epoch`."""
        counts = self._counts(epoch)
        return counts[0] if self.kind == "together" else sum(counts)

    def stage_of(self, epoch: int) -> int:
        """Return the stage that `epoch` is of: there is one."""
        return 0

    def deal(self, *, halves: bool) -> None:
        """Deal as a run that goes on began to: of another deal, its next turns hold rows that it has seen already.

        To the run's end, since a pass over a source may go on over epochs. The number of turns is the same either way.
        """
        self.halves = halves
        self._sources = self._dealt()

    def epoch(self, epoch: int) -> Sequence[Turn]:
        """Return the turns of `epoch` (from 0), each of which is made when it is asked for."""
        sources, counts = list(self._sources.items()), self._counts(epoch)
        firsts = [self._first(name, epoch) for name, _ in sources]
        if self.kind == "together":

            def step(number: int) -> Turn:
                parts = [Turn(name, each.rows(firsts[0] + number)) for name, each in sources]
                return parts[0]._replace(beside=tuple(parts[1:]))

            return OnDemand(step, range(counts[0]))
        order, ends = self._order(epoch, counts), list(accumulate(counts))

        def turn(number: int) -> Turn:
            place = int(order[number])
            which = bisect_right(ends, place)
            name, source = sources[which]
            return Turn(name, source.rows(firsts[which] + counts[which] + place - ends[which]))

        return OnDemand(turn, range(sum(counts)))

    def one_of_each_size(self, epochs: int) -> list[Turn] | None:
        """Return a turn of each source and number of rows that there is in the first `epochs` epochs.

        None where turns are planned by tokens: how many rows they have, is told by no arithmetic.
        """
        if self._budgeted:
            return None
        return [
            Turn(name, rows)
            for name, each in self._sources.items()
            if isinstance(each, _Passes)
            for rows in each.one_of_each_size(epochs * self.turns[name])
        ]

    def _counts(self, epoch: int) -> list[int]:
        """Return how many turns each source has in `epoch`."""
        return [self._first(name, epoch + 1) - self._first(name, epoch) for name in self._sources]

    def _first(self, name: str, epoch: int) -> int:
        """Return the number of the first turn of a source in `epoch`, over all of its passes."""
        if self.kind == "together":
            name = self._longest
        if name in self._budgeted and self.kind != "temperature":
            return self._budgeted[name].first(epoch * self.passes[name])
        return epoch * self.turns[name]

    def _order(self, epoch: int, counts: Sequence[int]) -> np.ndarray | range:
        """Return the order of an epoch's turns, each by its number where sources follow one another."""
        if len(counts) == 1:
            return range(counts[0])
        if self.kind == "round_robin":
            spread = np.concatenate([(2 * np.arange(count) + 1) / (2 * count) for count in counts])
            return np.argsort(spread, kind="stable").astype(smallest(len(spread)))
        sources = np.repeat(np.arange(len(counts), dtype=np.min_scalar_type(len(counts))), counts)
        self._rng("", epoch).shuffle(sources)
        order = np.empty(len(sources), smallest(len(sources)))
        order[np.argsort(sources, kind="stable")] = np.arange(len(sources), dtype=order.dtype)
        return order

    def _dealt(self) -> dict[str, _Passes | Budgeted]:
        return {
            name: self._budgeted[name]
            if name in self._budgeted
            else _Passes(lengths, self.rows_per_turn[name], halves=self.halves, rng=partial(self._rng, name))
            for name, lengths in self.lengths.items()
        }

    def _rng(self, name: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), number])


class _Passes:
    """The turns of one source, pass after pass over its rows; of a pass, two permutations are kept.

    In each pass the rows are shuffled, sorted by length within groups and cut into turns, which are shuffled, too.
    """

    def __init__(
        self, lengths: np.ndarray, rows_per_turn: int, *, halves: bool, rng: Callable[[int], np.random.Generator]
    ) -> None:
        """rng: returns what a pass is drawn from, by its number."""
        self.lengths, self.rows_per_turn, self.rng = lengths, rows_per_turn, rng
        self.turns_per_group = 1 if halves else BUCKET_TURNS
        self.count = -(-len(lengths) // rows_per_turn)
        self._permutations: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def first(self, passes: Fraction) -> int:
        """Return the number of the turn behind `passes` passes."""
        return round(passes * self.count)

    def rows(self, number: int) -> list[int]:
        """Return the rows of the turn `number`, from 0, over all passes."""
        which_pass, at = divmod(number, self.count)
        rows, turns = self._dealt(which_pass)
        group, part = self._place(int(turns[at]))
        own = rows[group]
        by_length = np.argsort(self.lengths[own], kind="stable")
        found: list[int] = own[by_length[part]].tolist()
        return found

    def one_of_each_size(self, count: int) -> list[list[int]]:
        """Return the rows of a turn of each number of rows that there is among the first `count`."""
        # All have as many but those of the last group.
        in_last_group = self._dealt(0)[1][:count] >= (self.count - 1) // self.turns_per_group * self.turns_per_group
        numbers = [*np.flatnonzero(~in_last_group)[:1].tolist(), *np.flatnonzero(in_last_group).tolist()]
        return list({len(rows): rows for rows in map(self.rows, numbers)}.values())

    def _place(self, turn: int) -> tuple[slice, slice]:
        """Return where the rows of a turn's group are in a pass, and where those of the turn are in the group."""
        group, at = divmod(turn, self.turns_per_group)
        size = self.rows_per_turn * self.turns_per_group
        start, stop = group * size, min((group + 1) * size, len(self.lengths))
        turns = -(-(stop - start) // self.rows_per_turn)
        each, longer = divmod(stop - start, turns)
        first = at * each + min(at, longer)
        return slice(start, stop), slice(first, first + each + (at < longer))

    def _dealt(self, which_pass: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the orders of the rows and of the turns of a pass."""
        if which_pass not in self._permutations:
            # Batches are made ahead: where a pass begins, turns of the one before are asked for, too.
            self._permutations = {k: v for k, v in self._permutations.items() if k == which_pass - 1}
            rng = self.rng(which_pass)
            self._permutations[which_pass] = permutation(rng, len(self.lengths)), permutation(rng, self.count)
        return self._permutations[which_pass]


def micro_batches(rows: list[int], lengths: np.ndarray, size: int, *, halves: bool) -> list[list[int]]:
    """Cut the rows of a turn into batches of at most `size`.

    halves: those of a turn are parted, where its shorter half is less padded so; lengths: of all rows of the source.
    """
    middle = len(rows) // 2
    parts = [rows]
    if halves and middle and lengths[rows[:middle]].max() < lengths[rows[middle:]].max():
        parts = [rows[:middle], rows[middle:]]
    return [part[i : i + size] for part in parts for i in range(0, len(part), size)]


def _apportion(turns: Mapping[str, int], temperature: float) -> dict[str, int]:
    """Share out the same total by largest remainder, at least one turn each."""
    weights = {name: n ** (1 / temperature) for name, n in turns.items()}
    total, weight = sum(turns.values()), sum(weights.values())
    shares = {name: total * w / weight for name, w in weights.items()}
    result = {name: max(1, int(share)) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: shares[name] % 1, reverse=True)
    for name in by_remainder[: max(0, total - sum(result.values()))]:
        result[name] += 1
    return result
