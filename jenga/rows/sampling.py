"""Whose turn it is, and which rows: the order of training, a pure function of seed and epoch."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

BUCKET_TURNS = 8
"""Turns whose rows are sorted by length together. Wider groups pad less, but their batches are of one kind of row: with
50, scores of short runs fall by one to three points (benchmarks/README.md, learning)."""


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
    ) -> None:
        """rows_per_turn: of all sources, or by source. passes: over a source in an epoch; default: one."""
        self.lengths = dict(lengths)
        self.halves = halves
        self.kind = kind
        per_turn = dict.fromkeys(lengths, rows_per_turn) if isinstance(rows_per_turn, int) else dict(rows_per_turn)
        self.rows_per_turn: dict[str, int] = per_turn
        self.seed = seed
        self.full_turns = {name: -(-len(each) // per_turn[name]) for name, each in self.lengths.items()}
        self.turns = {
            name: max(1, round(turns * (passes or {}).get(name, 1.0))) for name, turns in self.full_turns.items()
        }
        if kind == "temperature":
            self.turns = _apportion(self.turns, temperature)
        if kind == "together":
            self.turns = dict.fromkeys(self.turns, max(self.full_turns.values()))
        self._passes: dict[tuple[str, int], list[list[int]]] = {}

    def __len__(self) -> int:
        """Turns of an epoch."""
        return max(self.turns.values()) if self.kind == "together" else sum(self.turns.values())

    def turns_in(self, epoch: int) -> int:
        """Return the turns of `epoch`, of which all have as many here."""
        return len(self)

    def stage_of(self, epoch: int) -> int:
        """Return the stage that `epoch` is of: there is one."""
        return 0

    def deal(self, *, halves: bool) -> None:
        """Deal as a run that goes on began to: of another deal, its next turns hold rows that it has seen already.

        To the run's end, since a pass over a source may go on over epochs. The number of turns is the same either way.
        """
        self.halves, self._passes = halves, {}

    def epoch(self, epoch: int) -> list[Turn]:
        """Return the turns of `epoch` (from 0)."""
        queues = {
            name: [self._turn(name, epoch * turns + i) for i in range(turns)] for name, turns in self.turns.items()
        }
        if self.kind == "together":
            steps = zip(*queues.values(), strict=True)
            return [first._replace(beside=tuple(others)) for first, *others in steps]
        if self.kind == "round_robin":
            spread = [
                ((2 * i + 1) / (2 * len(queue)), place, turn)
                for place, queue in enumerate(queues.values())
                for i, turn in enumerate(queue)
            ]
            return [turn for _, _, turn in sorted(spread, key=lambda each: each[:2])]
        order = [name for name, queue in queues.items() for _ in queue]
        self._rng("", epoch).shuffle(order)
        heads = {name: iter(queue) for name, queue in queues.items()}
        return [next(heads[name]) for name in order]

    def _turn(self, source: str, number: int) -> Turn:
        which_pass, at = divmod(number, self.full_turns[source])
        key = (source, which_pass)
        if key not in self._passes:
            self._passes = {k: v for k, v in self._passes.items() if k[0] != source or k[1] == which_pass - 1}
            self._passes[key] = self._deal(source, which_pass)
        return Turn(source, self._passes[key][at])

    def _deal(self, source: str, which_pass: int) -> list[list[int]]:
        """Cut all rows of a source into turns: shuffled, sorted by length within groups, turns shuffled."""
        rng = self._rng(source, which_pass)
        lengths = self.lengths[source]
        order = rng.permutation(len(lengths))
        group = self.rows_per_turn[source] * (1 if self.halves else BUCKET_TURNS)
        turns: list[list[int]] = []
        for start in range(0, len(order), group):
            part = order[start : start + group]
            part = part[np.argsort(lengths[part], kind="stable")]
            turns += [each.tolist() for each in np.array_split(part, -(-len(part) // self.rows_per_turn[source]))]
        return [turns[i] for i in rng.permutation(len(turns))]

    def _rng(self, name: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), number])


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
