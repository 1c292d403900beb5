"""Rows of earlier stages that a training keeps, and which of them a step gets: functions of a seed alone."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from jenga.rows.order import OnDemand, permutation

Keep = Literal["reservoir", "balanced"]

_DRAWN_AT_ONCE = 1 << 16


class Kept(NamedTuple):
    """A row of the memory: of which source, and which of its tasks learn from it."""

    source: str
    tasks: tuple[str, ...]
    row: int


def kept_rows(stages: Sequence[Sequence[Kept]], size: int, *, keep: Keep, seed: int) -> list[list[Kept]]:
    """Return the memory as it stands in each of `stages`, whose rows are given: at most `size` rows of those before it.

    What a memory has lost never comes back. reservoir: algorithm R (Vitter 1985) over the rows of all stages, those of
    a stage in random order, so that each row seen has the same chance to be there; balanced: the same number of each
    stage seen, drawn at random.
    """
    streams = [
        _shuffled(rows, np.random.default_rng([seed, zlib.crc32(b"memory"), stage]))
        for stage, rows in enumerate(stages)
    ]
    if keep == "balanced":
        return [_balanced(streams[:stage], size) for stage in range(len(stages))]
    rng = np.random.default_rng([seed, zlib.crc32(b"reservoir")])
    memory: list[Kept] = []
    found: list[list[Kept]] = []
    seen = 0
    for stream in streams:
        found.append(list(memory))
        begin = size - len(memory)
        memory += stream[:begin]
        for start in range(begin, len(stream), _DRAWN_AT_ONCE):
            stop = min(start + _DRAWN_AT_ONCE, len(stream))
            places = rng.integers(np.arange(seen + start + 1, seen + stop + 1))
            for at in np.flatnonzero(places < size).tolist():
                memory[places[at]] = stream[start + at]
        seen += len(stream)
    return found


def _shuffled(rows: Sequence[Kept], rng: np.random.Generator) -> Sequence[Kept]:
    order = permutation(rng, len(rows))
    return OnDemand(lambda at: rows[order[at]], range(len(rows)))


def _balanced(streams: Sequence[Sequence[Kept]], size: int) -> list[Kept]:
    """Return the first rows of each stream; where they do not share `size` evenly, the first streams have one more."""
    shares = [size // len(streams) + (at < size % len(streams)) for at in range(len(streams))]
    return [row for stream, share in zip(streams, shares, strict=True) for row in stream[:share]]


def drawn(memory: Sequence[Kept], count: int, *, seed: int, step: Sequence[int]) -> list[Kept]:
    """Return `count` rows of a memory, or all where it has fewer; step: any numbers that name the step they are for."""
    rng = np.random.default_rng([seed, zlib.crc32(b"drawn"), *step])
    return [memory[at] for at in rng.permutation(len(memory))[:count]]


def by_reader(rows: Sequence[Kept]) -> dict[tuple[str, tuple[str, ...]], list[int]]:
    """Return rows of a memory by source and tasks."""
    found: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for each in rows:
        found.setdefault((each.source, each.tasks), []).append(each.row)
    return found
