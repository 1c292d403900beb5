"""Training rows taken as they come, of files that nobody counts or indexes: shuffled in a buffer, over and over."""

from __future__ import annotations

import logging
import os
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from jenga.errors import DataError
from jenga.rows.batches import EncodedSplit
from jenga.rows.large import Reading
from jenga.rows.loaded import stop_if_many
from jenga.rows.order import OnDemand
from jenga.rows.parse import Parser, Rows, SourceSpec, Spaces
from jenga.rows.raw import BadRow, RawRows
from jenga.rows.sampling import Sampler, Turn
from jenga.types import Batch

logger = logging.getLogger(__name__)
HEAD_ROWS = 10_000
"""Rows, of all files together, that are read and held beforehand: they say which labels there are."""
BUFFER_ROWS = 10_000
_AT_ONCE, _RECENT = 512, 16_384
_EPOCH_TURNS = 500
"""Turns after which a training over a stream is judged and saved, where nothing else is said."""


class _Row(NamedTuple):
    """A row as it stands in its file."""

    file: int
    number: int
    row: dict[str, object]


class Stream:
    """The rows of files in an order of chance, pass after pass: a function of the seed alone.

    In each pass the files come in another order, and rows are drawn from a buffer of those that came last. Rows are
    asked for by their places in that order, from 0 on; nothing is kept of those long gone, so an earlier place begins
    anew, and a run that goes on reads what it has seen once more to find its place.
    """

    def __init__(
        self,
        files: Sequence[tuple[RawRows, Reading]],
        spec: SourceSpec,
        spaces: Spaces,
        *,
        without: frozenset[tuple[str, int]],
        seed: int,
        max_bad_fraction: float,
        buffer_rows: int = BUFFER_ROWS,
    ) -> None:
        """files: each with its first rows, and what reads it. without: the file and number of rows that are left out.

        Raises DataError where a file lacks a column that the content is read from.
        """
        self._readings = [reading for _, reading in files]
        self._parsers = [Parser(raw, spec, spaces) for raw, _ in files]
        self._without, self._seed, self._buffer_rows = without, seed, buffer_rows
        self._max_bad_fraction = max_bad_fraction
        self._told: set[str] = set()
        self._begin()

    def rows(self, places: Sequence[int]) -> Rows:
        """Return the rows at `places` of the order, parsed.

        Raises DataError where a file has more bad rows than are allowed, or no file has a row.
        """
        behind = any(place < self._next and place not in self._recent for place in places)
        # A fork reads from the same open file as its parent: what one has read, the other never sees.
        if behind or self._process != os.getpid():
            self._begin()
        room = max(_RECENT, 2 * (max(places) - min(places) + 1))
        while self._next <= max(places):
            self._recent[self._next] = next(self._coming)
            self._next += 1
            if len(self._recent) > room:
                self._recent.popitem(last=False)
        wanted = [self._recent[place] for place in places]
        parts, order = [], []
        for file in dict.fromkeys(each.file for each in wanted):
            own = [at for at, each in enumerate(wanted) if each.file == file]
            parts.append(self._parsed(file, [wanted[at] for at in own])[0])
            order += own
        return Rows.joined(parts).take(np.argsort(order, kind="stable"))

    def _begin(self) -> None:
        self._next, self._process = 0, os.getpid()
        self._recent: OrderedDict[int, _Row] = OrderedDict()
        self._coming = self._endless()

    def _endless(self) -> Iterator[_Row]:
        which = 0
        while True:
            count = 0
            for row in self._pass(which):
                yield row
                count += 1
            if not count:
                raise DataError("data.streaming: none of the files has a row to train on")
            which += 1

    def _pass(self, which: int) -> Iterator[_Row]:
        rng = random.Random(f"{self._seed} {which}")
        files = list(range(len(self._readings)))
        rng.shuffle(files)
        buffer: list[_Row] = []
        for file in files:
            for row in self._usable(file):
                if len(buffer) < self._buffer_rows:
                    buffer.append(row)
                    continue
                at = int(rng.random() * self._buffer_rows)
                yield buffer[at]
                buffer[at] = row
        rng.shuffle(buffer)
        yield from buffer

    def _usable(self, file: int) -> Iterator[_Row]:
        """Yield the rows of a file that can be used; the first time, warn of the others."""
        name = self._parsers[file].raw.file
        bad: list[BadRow] = []
        waiting: list[_Row] = []
        total = 0

        def refused(number: int, reason: str, raw: str) -> None:
            nonlocal total
            total += 1
            bad.append(BadRow(name, number, reason, raw))

        def parsed() -> Iterator[_Row]:
            rows, unusable = self._parsed(file, waiting)
            bad.extend(unusable)
            good = set(rows.numbers)
            # Of few rows a share says nothing.
            stop_if_many(name, bad, max(total, HEAD_ROWS), self._max_bad_fraction)
            yield from (row for row in waiting if row.number in good)

        for number, row in self._readings[file](refused):
            total += 1
            if (name, number) not in self._without:
                waiting.append(_Row(file, number, row))
            if len(waiting) == _AT_ONCE:
                yield from parsed()
                waiting = []
        yield from parsed()
        stop_if_many(name, bad, total, self._max_bad_fraction)
        if bad and name not in self._told:
            self._told.add(name)
            logger.warning(
                "%s: %d of %d rows cannot be used and train nothing, such as %s", name, len(bad), total, bad[0]
            )

    def _parsed(self, file: int, rows: Sequence[_Row]) -> tuple[Rows, list[BadRow]]:
        raw = RawRows(self._parsers[file].raw.file, table=self._parsers[file].raw.table)
        for each in rows:
            raw.add(each.number, each.row)
        return self._parsers[file].run(raw)


@dataclass
class StreamedSplit(EncodedSplit):
    """The training rows of a source as they come; `rows`, `encoded` and its size are those of the first ones, held.

    It is for who feeds a training; whoever judges, or fits something else, has the split of the first rows. Entries of
    a batch are places in `stream`. `encode`: returns parsed rows as a split of their own.
    """

    stream: Stream | None = None
    encode: Callable[[Rows], EncodedSplit] | None = field(default=None, repr=False)

    def batch(self, index: Sequence[int], *, changes: torch.Generator | None = None) -> Batch:
        """Return the rows at the places `index` of the stream; see `EncodedSplit.batch`."""
        assert self.stream is not None
        assert self.encode is not None
        split = self.encode(self.stream.rows(index))
        found = split.batch(range(len(split)), changes=changes)
        return Batch(found.inputs, found.labels, found.sample_ids, self.source, list(index), found.teacher)


class StreamSampler(Sampler):
    """Deals the rows of streams: each turn has the next ones of one source, and sources take turns.

    An epoch has 500 of them, so that a run is judged and saved on its way.
    """

    def __init__(self, rows_per_turn: Mapping[str, int]) -> None:
        """rows_per_turn: by source."""
        # Not the base's: there are no lengths to deal by.
        self.halves, self.kind = False, "round_robin"
        self.rows_per_turn = dict(rows_per_turn)
        self._names = list(rows_per_turn)

    def turns_in(self, epoch: int) -> int:
        """Return the turns of `epoch`, of which all have as many."""
        return _EPOCH_TURNS

    def deal(self, *, halves: bool) -> None:
        """Change nothing: there is one deal."""

    def epoch(self, epoch: int) -> OnDemand[Turn]:
        """Return the turns of `epoch` (from 0)."""
        return OnDemand(self._turn_at, range(epoch * _EPOCH_TURNS, (epoch + 1) * _EPOCH_TURNS))

    def one_of_each_size(self, epochs: int) -> list[Turn]:
        """Return a turn of each source: all of one have as many rows."""
        return [self._turn_at(source) for source in range(len(self._names))]

    def _turn_at(self, number: int) -> Turn:
        which, source = divmod(number, len(self._names))
        name = self._names[source]
        count = self.rows_per_turn[name]
        return Turn(name, list(range(which * count, (which + 1) * count)))
