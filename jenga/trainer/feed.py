"""The batches of the turns to come, made while the ones before are learnt from."""

from __future__ import annotations

import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch

from jenga.ahead import made_ahead
from jenga.processes import Processes
from jenga.rows.batches import EncodedSplit
from jenga.rows.budget import batches_within
from jenga.rows.sampling import Sampler, Turn, micro_batches
from jenga.rows.stages import StagedSampler
from jenga.types import Batch


class _Part(NamedTuple):
    """A micro-batch to make: which rows, and in which pass over them."""

    source: str
    epoch: int
    rows: tuple[int, ...]
    idle: bool = False


class Feed:
    """Makes the micro-batches of turns in `workers` processes ahead of them; 0: as asked for.

    `sizes`: the most rows of one, by source; `tokens`: of the others, the most tokens of one, with those that pad it
    where `padded`. Of each, this process has its share in `processes`. in_step: whether one that has none gets an idle
    batch instead, so that all run the model equally often.

    A batch is the same whoever makes it: what is changed of its rows is drawn from `seed`, the epoch and the rows.
    Processes are there from `begin` to the end of the block that the feed is the context of.
    """

    def __init__(
        self,
        splits: Mapping[str, EncodedSplit],
        *,
        sizes: Mapping[str, int],
        halves: bool,
        seed: int,
        workers: int,
        processes: Processes | None = None,
        in_step: bool = False,
        tokens: Mapping[str, int] | None = None,
        padded: bool = True,
    ) -> None:
        self.in_step, self.tokens, self.padded = in_step, dict(tokens or {}), padded
        self.splits, self.sizes, self.halves, self.seed, self.workers = splits, sizes, halves, seed, workers
        self.processes = processes or Processes()
        self._made: Iterator[Batch] | None = None
        self._expected: deque[_Part] = deque()
        self._coming: Callable[[], Iterator[tuple[int, Turn]]] = lambda: iter(())
        self._without: dict[str, frozenset[int]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._made = None
        self._stack.__exit__(kind, error, where)

    def begin(self, coming: Callable[[], Iterator[tuple[int, Turn]]]) -> None:
        """Make batches of the turns that come from now on, ahead of them; what was made ahead before is dropped.

        coming: returns them, as pairs of an epoch and its turn. It is asked anew where other rows are left out.
        """
        self._stack.close()
        self._expected.clear()
        self._coming, self._without = coming, self._left_out()
        if self.workers:
            made = made_ahead(self._make, self._noted(coming()), workers=self.workers)
            self._made = self._stack.enter_context(made)

    def kept(self, turn: Turn) -> Turn:
        """Return `turn` without the rows that are left out, and the parts without a row; the first where none has."""
        if not any(self.splits[part.source].left_out for part in turn.parts):
            return turn
        parts = [part._replace(rows=[row for row in part.rows if row not in self.splits[part.source].left_out])
                 for part in turn.parts]  # fmt: skip
        first, *others = [part for part in parts if part.rows] or parts[:1]
        return first._replace(beside=tuple(others))

    def batches(self, epoch: int, turn: Turn) -> list[Batch]:
        """Return the micro-batches of `turn`, or of a part of one.

        It is the next of those that `begin` was given, if it was called.
        """
        if self._made is not None and self._without != self._left_out():
            self.begin(self._coming)
        parts = self._parts(epoch, turn)
        if self._made is None:
            return [self._make(part) for part in parts]
        found = []
        for part in parts:
            found.append(next(self._made))
            expected = self._expected.popleft()
            assert part == expected, f"batches were made of {expected}, not of {part}"
        return found

    def fewest(self, sampler: Sampler | StagedSampler, epochs: int) -> int:
        """Return how many rows the smallest batch of some epochs has, over all processes."""
        some = sampler.one_of_each_size(epochs)
        least = 1 if some is None else min(map(self._least, some))
        found = sys.maxsize
        # Which turns are parted in halves, and what joins them, is seen in their rows alone.
        for turn in chain(some or (), *map(sampler.epoch, range(epochs))):
            found = min(found, *(len(rows) for each in turn.parts for rows in self._cut(each)))
            if found == least:
                break
        return found

    def _least(self, turn: Turn) -> int:
        """Return how many rows the smallest batch may have of a turn of as many rows of one source."""
        rows, size = len(turn.rows), self.sizes[turn.source]
        # Rows of one length are never parted.
        middle = rows // 2 if self.halves and np.ptp(self.splits[turn.source].lengths) else 0
        return min(part % size or size for part in (rows, middle, rows - middle) if part)

    def _cut(self, part: Turn) -> list[list[int]]:
        lengths = self.splits[part.source].lengths
        if (tokens := self.tokens.get(part.source)) is not None:
            return batches_within(part.rows, lengths, tokens, padded=self.padded)
        return micro_batches(part.rows, lengths, self.sizes[part.source], halves=self.halves)

    def _noted(self, coming: Iterator[tuple[int, Turn]]) -> Iterator[_Part]:
        for epoch, turn in coming:
            for part in self._parts(epoch, turn):
                self._expected.append(part)
                yield part

    def _parts(self, epoch: int, turn: Turn) -> list[_Part]:
        parts = []
        for each in self.kept(turn).parts:
            for rows in self._cut(each):
                if own := tuple(self.processes.share(rows)):
                    parts.append(_Part(each.source, epoch, own))
                elif self.in_step and rows:
                    parts.append(_Part(each.source, epoch, (rows[0],), idle=True))
        return parts

    def _left_out(self) -> dict[str, frozenset[int]]:
        return {name: split.left_out for name, split in self.splits.items()}

    def _make(self, part: _Part) -> Batch:
        entropy = [self.seed, zlib.crc32(part.source.encode()), part.epoch, *part.rows]
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
        made = self.splits[part.source].batch(part.rows, changes=torch.Generator().manual_seed(seed))
        return replace(made, idle=True) if part.idle else made
