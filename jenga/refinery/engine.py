"""A compiled plan at work on chunks of rows, through the native functions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jenga.errors import printable
from jenga.kernels.refinery import encode, extract, refine
from jenga.refinery.chunks import Chunk, RowChunk, python_values
from jenga.refinery.histories import Histories
from jenga.refinery.plan import CompiledPlan
from jenga.refinery.quarantine import QuarantineRecord, records_of
from jenga.refinery.result import Counters
from jenga.refinery.schema import RefinerySchema
from jenga.refinery.statistics import ABSENT, RawBlock
from jenga.refinery.threads import thread_count

_RESULT_BYTES = 64 << 20
"""Features and raw values that are made of a chunk at once."""


@dataclass(frozen=True)
class RefinedChunk:
    """A chunk as features (float32 ``(M, F)``); the rest as in `Refined`.

    `n_filled`: rows among them that are in quarantine and stand there without a value. `histories`: float64 ``(M, H)``,
    what the H fields of kind history tell of the rows, NaN for nothing; None where there are none.
    """

    features: torch.Tensor
    states: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    counters: Counters
    quarantine: list[QuarantineRecord]
    n_blank: int
    n_filled: int = 0
    histories: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class RawChunk:
    """A chunk as raw values; `counters` (before unknown categories are known) and the rest as in `Refined`."""

    block: RawBlock
    numbers: NDArray[np.int64]
    counters: Counters
    quarantine: list[QuarantineRecord]
    n_blank: int


class Pace:
    """What is known of the rows before: the last moment of each timestamp field, or of its entities, and histories.

    `last`: as `jenga.kernels.refinery.RefineResult` has it. `histories`: None before the first row that has any.
    """

    def __init__(self, histories: Histories | None = None) -> None:
        self.last: torch.Tensor | None = None
        self.histories = histories

    def warnings(self, schema: RefinerySchema) -> dict[str, str]:
        """Return by its path a warning for each field that remembers as many entities as it may, or is out of order."""
        timed = [field for field in schema.fields if field.kind == "timestamp" and field.inter_arrival]
        told = {} if self.histories is None else _words_of(self.histories, schema)
        if self.last is None:
            return told
        of_field = self.last[len(timed) :: 3].long().bincount(minlength=len(timed)).tolist()
        return told | {
            field.path: f"'{field.path}': as many '{printable(field.by)}' as are remembered (max_entities: "
            f"{field.max_entities:,}) were heard of; of those that are forgotten, the next row counts as the first one"
            for field, count in zip(timed, of_field, strict=True)
            if field.by is not None and count == field.max_entities
        }


def _words_of(histories: Histories, schema: RefinerySchema) -> dict[str, str]:
    crowded = [schema.fields[column.at] for column in histories.crowded()]
    mixed_up = [schema.fields[column.at] for column in histories.mixed_up()]
    return {
        field.path: f"'{field.path}': as many '{printable(field.by)}' as are remembered (max_entities: "
        f"{field.max_entities:,}) were heard of; those that are forgotten begin anew"
        for field in crowded
    } | {
        field.path: f"'{field.path}': many rows are earlier than one before of the same '{printable(field.by)}', and "
        "are told of part of what was before them; put the rows in the order of time"
        for field in mixed_up
    }


class Engine:
    """Runs one plan, on at most `rows_at_once` rows if memory is to be bounded.

    `pace` goes on from chunk to chunk, and where it is given from what was seen before.
    """

    def __init__(
        self, compiled: CompiledPlan, *, n_threads: int | None, redact: bool, pace: Pace | None = None
    ) -> None:
        self._plan = compiled.plan
        self._described: dict[str, Any] = json.loads(compiled.plan)
        self._encoded = torch.frombuffer(bytearray(compiled.plan), dtype=torch.uint8)
        self._n_threads = thread_count(n_threads)
        self._redact = redact
        self.pace = Pace() if pace is None else pace
        self._layout = compiled.histories
        if self._layout is not None and self.pace.histories is None:
            self.pace.histories = Histories(self._layout)
        row_bytes = 4 * compiled.n_features + compiled.n_fields + 16 * (compiled.n_numbers + compiled.n_texts)
        self.rows_at_once = max(1, _RESULT_BYTES // row_bytes)
        self.paths = tuple(field["path"] for field in self._described["fields"])
        self.kinds = tuple(field["kind"] for field in self._described["fields"])

    def refine(self, chunk: Chunk, *, out: torch.Tensor | None = None, fill: bool = False) -> RefinedChunk:
        """Return the features of a chunk, written to the first rows of `out` where it is given.

        `fill`: whether a bad row keeps its place, with every value missing.
        """
        if fill or self._layout is not None or not isinstance(chunk, RowChunk):
            return self._encode(chunk, out, fill)
        found = refine(
            torch.from_numpy(chunk.data), torch.from_numpy(chunk.row_offsets), self._encoded,
            previous=self.pace.last, n_threads=self._n_threads, out=out,
        )  # fmt: skip
        self.pace.last = found.last
        bad = found.quarantine.numpy()
        return RefinedChunk(
            found.features, found.states.numpy(), np.delete(chunk.numbers, bad[:, 0]),
            Counters(self.paths, found.counters.numpy()), self._records(chunk, bad), chunk.n_blank,
        )  # fmt: skip

    def raw(self, chunk: Chunk) -> RawChunk:
        """Return the raw values of a chunk."""
        found = self._extracted(chunk)
        if self._layout is None:
            return found
        assert self.pace.histories is not None
        block, counts = self.pace.histories.told(found.block), found.counters.counts.copy()
        for column in self._layout.columns:
            # Whatever an event has at the path of a history is none.
            counts[column.at] = np.bincount(block.states[:, column.at], minlength=counts.shape[1])
        return replace(found, block=block, counters=Counters(self.paths, counts))

    def _extracted(self, chunk: Chunk) -> RawChunk:
        if not isinstance(chunk, RowChunk):
            from jenga.refinery.cells import raw_of_table

            block, counts, numbers, records = raw_of_table(chunk, self._described, redact=self._redact)
            return RawChunk(block, numbers, Counters(self.paths, counts), records, 0)
        found = extract(
            torch.from_numpy(chunk.data), torch.from_numpy(chunk.row_offsets), self._encoded, n_threads=self._n_threads
        )
        bad = found.quarantine.numpy()
        block = RawBlock(*(each.numpy() for each in (found.numbers, found.text, found.text_offsets, found.states)))
        return RawChunk(
            block, np.delete(chunk.numbers, bad[:, 0]), Counters(self.paths, found.counters.numpy()),
            self._records(chunk, bad), chunk.n_blank,
        )  # fmt: skip

    def _encode(self, chunk: Chunk, out: torch.Tensor | None, fill: bool) -> RefinedChunk:
        raw = self.raw(chunk)
        bad = [record.number for record in raw.quarantine] if fill else []
        if bad:
            raw = _filled(raw, np.array(bad, np.int64))
        numbers, text, text_offsets, states = map(torch.from_numpy, raw.block)
        found = encode(
            numbers, text, text_offsets, states, self._encoded, previous=self.pace.last, n_threads=self._n_threads
        )
        self.pace.last = found.last
        counts = found.counters.numpy() + raw.counters.counts * _NOT_A_STATE
        features = found.features if out is None else out[: len(found.features)].copy_(found.features)
        slots = [] if self._layout is None else [column.slot for column in self._layout.columns]
        return RefinedChunk(
            features, found.states.numpy(), raw.numbers, Counters(self.paths, counts), raw.quarantine, raw.n_blank,
            len(bad), raw.block.numbers[:, slots] if slots else None,
        )  # fmt: skip

    def _records(self, chunk: RowChunk, bad: NDArray[np.int64]) -> list[QuarantineRecord]:
        return records_of(chunk, bad, self._plan, redact=self._redact)


def _filled(raw: RawChunk, bad: NDArray[np.int64]) -> RawChunk:
    """Return raw values with rows of no value for the `bad` ones, all in the order of their numbers."""
    order = np.argsort(np.concatenate([raw.numbers, bad]), kind="stable")
    good = order < len(raw.numbers)
    n_rows, block = len(order), raw.block
    numbers = np.full((n_rows, block.numbers.shape[1]), np.nan)
    numbers[good] = block.numbers
    states = np.full((n_rows, block.states.shape[1]), ABSENT, np.uint8)
    states[good] = block.states
    n_texts = block.states.shape[1] - block.numbers.shape[1]
    lengths = np.zeros((n_rows, n_texts), np.int64)
    lengths[good] = np.diff(block.text_offsets).reshape(len(raw.numbers), n_texts)
    offsets = np.concatenate([[0], np.cumsum(lengths.ravel())])
    filled = RawBlock(numbers, block.text, offsets, states)
    return replace(raw, block=filled, numbers=np.concatenate([raw.numbers, bad])[order])


_NOT_A_STATE = np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64)


def first_rows(chunks: Iterable[Chunk], count: int) -> tuple[list[dict[str, Any]], Iterator[Chunk]]:
    """Return up to `count` rows from the front that are objects, and all of `chunks` again."""
    rest = iter(chunks)
    seen: list[Chunk] = []
    rows: list[dict[str, Any]] = []
    for chunk in rest:
        seen.append(chunk)
        rows += itertools.islice(_objects(chunk, count - len(rows)), count - len(rows))
        if len(rows) == count:
            break
    return rows, itertools.chain(seen, rest)


def spread_rows(chunks: Iterable[Chunk], count: int) -> list[dict[str, Any]]:
    """Return every k-th row of `chunks` that is an object, for the least k = 1, 2, 4, ... that gives up to `count`."""
    rows: list[dict[str, Any]] = []
    step, seen = 1, 0
    for chunk in chunks:
        wanted = range(-seen % step, len(chunk.numbers), step)
        rows += _objects(chunk, len(chunk.numbers), wanted)
        seen += len(chunk.numbers)
        while len(rows) > count:
            rows, step = rows[::2], 2 * step
    return rows


def _objects(chunk: Chunk, count: int, wanted: range | None = None) -> Iterator[dict[str, Any]]:
    """Yield the objects among the rows at `wanted`, of a table the first `count` without."""
    if not isinstance(chunk, RowChunk):
        names = list(chunk.columns)
        at = slice(count) if wanted is None else slice(wanted.start, wanted.stop, wanted.step)
        columns = [python_values(each[at]) for each in chunk.columns.values()]
        yield from (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
        return
    for index in range(len(chunk.row_offsets)) if wanted is None else wanted:
        try:
            row = json.loads(chunk.row(index))
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row
