"""What the training rows say about each field: the fitted statistics, which add up over blocks and shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jenga.errors import ConfigError, DataError
from jenga.refinery.entities import EntityTimes, named
from jenga.refinery.fields import AnyField, NumericField, TimestampField
from jenga.refinery.schema import RefinerySchema
from jenga.refinery.sketches import Arrays, Moments, TokenBuckets, TokenCounts, ValueCounts, taken

BLOCK_ROWS = 65_536
"""Rows that enter the moments together, so that they depend on neither chunks nor threads."""

LARGEST = 1e140
"""Larger numbers count as this one, so that no sum of squares overflows."""

PRESENT, ABSENT, NULL, MISMATCH, OVERFLOW, UNKNOWN = range(6)
"""The states of a field in a row."""

N_STATES = 6
NUMBER_KINDS = ("numeric", "boolean", "port", "timestamp", "history")
TEXT_KINDS = ("categorical", "ip", "text", "raw")
SET_MARK = b"\xff"
"""Behind each value of a set of texts; UTF-8 has no such byte."""


class RawBlock(NamedTuple):
    """The raw values of n rows, as the native ``extract`` gives them.

    `numbers` float64 ``(n, N)``, NaN where missing, a column for each field of `NUMBER_KINDS`; `text` uint8, the bytes
    of n x T texts, row by row, a text for each other field; `text_offsets` int64 ``(n * T + 1,)``;
    `states` uint8 ``(n, fields)``.
    """

    numbers: NDArray[np.float64]
    text: NDArray[np.uint8]
    text_offsets: NDArray[np.int64]
    states: NDArray[np.uint8]

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self.states)

    def rows(self, begin: int, end: int) -> RawBlock:
        """Return rows `begin` to `end`, exclusive."""
        n_texts = (len(self.text_offsets) - 1) // max(self.n_rows, 1)
        offsets = self.text_offsets[begin * n_texts : end * n_texts + 1]
        text = self.text[offsets[0] : offsets[-1]]
        return RawBlock(self.numbers[begin:end], text, offsets - offsets[0], self.states[begin:end])

    def texts(self, slot: int, rows: NDArray[np.bool_]) -> Any:
        """Return the texts of one slot in the rows that are True, as a pyarrow LargeBinaryArray."""
        import pyarrow as pa

        n_cells = len(self.text_offsets) - 1
        buffers = [None, pa.py_buffer(self.text_offsets), pa.py_buffer(self.text)]
        cells = pa.Array.from_buffers(pa.large_binary(), n_cells, buffers)
        return cells.take(pa.array(np.flatnonzero(rows) * (n_cells // max(self.n_rows, 1)) + slot))


def join_blocks(blocks: Sequence[RawBlock]) -> RawBlock:
    """Return the rows of all `blocks`, at least one, as one block."""
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(len(each.text) for each in blocks)])
    offsets = [each.text_offsets[:-1] + start for each, start in zip(blocks, starts[:-1], strict=True)]
    return RawBlock(
        np.concatenate([each.numbers for each in blocks]),
        np.concatenate([each.text for each in blocks]),
        np.concatenate([*offsets, starts[-1:]]),
        np.concatenate([each.states for each in blocks]),
    )


def reblock(blocks: Iterable[RawBlock], *, n_rows: int = BLOCK_ROWS) -> Iterator[RawBlock]:
    """Yield the rows of `blocks` in blocks of `n_rows`; the last may be shorter, none is empty."""
    held: list[RawBlock] = []
    n_held = 0
    for block in blocks:
        begin = 0
        while begin < block.n_rows:
            end = min(block.n_rows, begin + n_rows - n_held)
            held.append(block.rows(begin, end))
            n_held += end - begin
            begin = end
            if n_held == n_rows:
                yield join_blocks(held)
                held, n_held = [], 0
    if held:
        yield join_blocks(held)


@dataclass
class FieldStatistics:
    """What is known of one field.

    `states`: int64 ``(6,)``, rows by state. `numbers`: counts of the raw numbers (numeric, boolean, port, history), of
    the texts' lengths in bytes (text), or of the seconds between rows (timestamp). `moments`: of clipped, compressed
    numbers (numeric) or of log1p of the seconds between rows (timestamp) or of what is told (history). `tokens`: counts
    of texts, kept as they are (categories) or by hash alone (hashed categories, ip, text). Of an entity nothing but its
    states is kept.
    """

    field: AnyField
    states: NDArray[np.int64]
    numbers: ValueCounts | None = None
    moments: Moments | None = None
    tokens: TokenCounts | TokenBuckets | None = None
    last: float = float("nan")
    entities: EntityTimes | None = None

    @classmethod
    def of(cls, field: AnyField) -> FieldStatistics:
        """Return the statistics of a field of which no row was seen."""
        made = cls(field, np.zeros(N_STATES, np.int64))
        if field.kind in (*NUMBER_KINDS, "text"):
            made.numbers = ValueCounts()
        if field.kind in ("numeric", "timestamp", "history"):
            made.moments = Moments()
        if field.kind in TEXT_KINDS:
            made.tokens = TokenCounts() if _keeps_tokens(field) else TokenBuckets()
        made.restart()
        return made

    @property
    def n(self) -> int:
        """Rows seen."""
        return int(self.states.sum())

    @property
    def n_missing(self) -> int:
        """Rows without the value: absent, null, of another type, or too large."""
        return int(self.states[ABSENT : OVERFLOW + 1].sum())

    @property
    def missing_rate(self) -> float:
        """Share of rows without the value; 0.0 when no row was seen."""
        return self.n_missing / self.n if self.n else 0.0

    def update_numbers(
        self, states: NDArray[np.uint8], values: NDArray[np.float64], names: Sequence[bytes | None] = ()
    ) -> None:
        """Take in the field's `states` ``(n,)`` and `values` ``(n,)``.

        `names`: of the entities of the rows that have a time, where a timestamp counts by them.
        """
        self.states += np.bincount(states, minlength=N_STATES)
        values = np.clip(values[states == PRESENT], -LARGEST, LARGEST)
        if self.entities is not None:
            values = self.entities.gaps(names, values)
        elif self.field.kind == "timestamp":
            values = self._gaps(values)
        if self.numbers is not None:
            self.numbers.update(values)
        if self.moments is not None:
            self.moments.merge(Moments.of(compress(self.field, values)))

    def update_texts(self, states: NDArray[np.uint8], texts: Any) -> None:
        """Take in the field's `states` ``(n,)`` and the `texts`, a pyarrow array, of the rows that have one."""
        self.states += np.bincount(states, minlength=N_STATES)
        if self.field.kind == "entity":
            # Who is who is no business of a fitted state.
            return
        counted = texts.value_counts()
        tokens, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
        if self.field.is_set:
            tokens, counts = _counted_members(tokens, counts)
        assert self.tokens is not None
        try:
            self.tokens.update(tokens, counts)
        except DataError as error:
            raise DataError(f"{self.field.path}: {error}") from None
        if self.numbers is not None:
            self.numbers.update(np.repeat(np.array([len(token) for token in tokens], np.float64), counts))

    def restart(self) -> None:
        """Forget the last times: the rows that follow are not the next ones of the rows before."""
        self.last = float("nan")
        field = self.field
        if isinstance(field, TimestampField) and field.by is not None:
            self.entities = EntityTimes(field.max_entities)

    def _gaps(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(times):
            return times
        before, self.last = self.last, float(times[-1])
        gaps = np.maximum(np.diff(times, prepend=before), 0.0)
        return gaps[1:] if np.isnan(before) else gaps

    def merge(self, other: FieldStatistics) -> None:
        """Take in what `other`, of the same field, has seen."""
        self.states += other.states
        for name in ("numbers", "moments", "tokens"):
            if (part := getattr(self, name)) is not None:
                part.merge(getattr(other, name))

    def places_of(self, values: NDArray[np.float64] | Sequence[bytes]) -> NDArray[np.float64]:
        """Return where each of `values` lies among the training rows' values, 0 to 1; NaN where nothing is known.

        Numbers: the share of rows below each and half of those equal. Texts, ports or booleans: their own share (of
        texts that are known by their hash alone, at least that); of a set, the share of its rarest value. Timestamps:
        NaN.
        """
        if self.tokens is not None and self.field.is_set:
            return self._places_of_sets(values)  # type: ignore[arg-type]
        if self.tokens is not None:
            return self.tokens.shares_of(values)  # type: ignore[arg-type]  # a field with tokens has texts
        if self.numbers is None or self.field.kind == "timestamp":
            return np.full(len(values), np.nan)
        numbers = np.asarray(values, np.float64)
        is_amount = self.field.kind in ("numeric", "history")
        return self.numbers.quantiles_of(numbers) if is_amount else self.numbers.shares_of(numbers)

    def _places_of_sets(self, values: Sequence[bytes]) -> NDArray[np.float64]:
        assert self.tokens is not None
        n_rows = self.n - self.n_missing
        sets = [members_of(value) for value in values]
        flat = [member for members in sets for member in members]
        shares = iter((self.tokens.shares_of(flat) * self.tokens.n / max(n_rows, 1)).tolist())
        return np.array([min((next(shares) for _ in members), default=np.nan) for members in sets], np.float64)

    def to_arrays(self) -> Arrays:
        """Return what `from_arrays` reads back."""
        arrays: Arrays = {"states": self.states}
        for name in ("numbers", "moments", "tokens"):
            if (part := getattr(self, name)) is not None:
                arrays |= {f"{name}.{key}": array for key, array in part.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, field: AnyField, arrays: Arrays) -> FieldStatistics:
        """Return the statistics of `field` in `arrays`."""
        made = cls.of(field)
        made.states = taken(arrays, "states", np.int64, N_STATES)
        for name in ("numbers", "moments", "tokens"):
            if (part := getattr(made, name)) is not None:
                own = {key.removeprefix(f"{name}."): each for key, each in arrays.items() if key.startswith(f"{name}.")}
                setattr(made, name, type(part).from_arrays(own))
        return made


class Statistics:
    """The statistics of every field of a schema, in its order."""

    def __init__(self, schema: RefinerySchema) -> None:
        self.schema = schema
        self.fields = [FieldStatistics.of(field) for field in schema.fields]
        self.n_rows = 0

    def update(self, block: RawBlock) -> None:
        """Take in the rows of `block`. Raises DataError where a category has too many values."""
        number_slot = text_slot = 0
        for at, known in enumerate(self.fields):
            states = np.ascontiguousarray(block.states[:, at])
            if known.field.kind in NUMBER_KINDS:
                known.update_numbers(states, block.numbers[:, number_slot], self._names(known.field, block, states))
                number_slot += 1
            else:
                has_text = (states == PRESENT) | (states == UNKNOWN)
                known.update_texts(states, block.texts(text_slot, has_text))
                text_slot += 1
        self.n_rows += block.n_rows

    def _names(self, field: AnyField, block: RawBlock, states: NDArray[np.uint8]) -> list[bytes | None]:
        """Return whose the rows are that have a time, where `field` counts it by entity; else nothing."""
        if field.kind != "timestamp" or field.by is None:
            return []
        at = next(at for at, known in enumerate(self.fields) if known.field.path == field.by)
        slot = sum(known.field.kind not in NUMBER_KINDS for known in self.fields[:at])
        found = named(block.texts(slot, np.ones(block.n_rows, np.bool_)).to_pylist(), self.schema.missing)
        there = np.isin(block.states[:, at], (PRESENT, UNKNOWN)).tolist()
        return [found[row] if there[row] else None for row in np.flatnonzero(states == PRESENT).tolist()]

    def restart(self) -> None:
        """Forget the last timestamps: the rows that follow are not the next ones of the rows before."""
        for known in self.fields:
            known.restart()

    def merge(self, other: Statistics) -> None:
        """Take in what `other` has seen. Raises ConfigError when the schemas differ."""
        if other.schema.fields != self.schema.fields:
            raise ConfigError(f"fitted states of different schemas do not add up: {_difference(self, other)}")
        for own, theirs in zip(self.fields, other.fields, strict=True):
            own.merge(theirs)
        self.n_rows += other.n_rows

    def __getitem__(self, path: str) -> FieldStatistics:
        return next(known for known in self.fields if known.field.path == path)

    def to_arrays(self) -> Arrays:
        """Return what `from_arrays` reads back, a few arrays a field; keys begin with the field's number."""
        arrays: Arrays = {"n_rows": np.array([self.n_rows], np.int64)}
        for at, known in enumerate(self.fields):
            arrays |= {f"{at}.{key}": array for key, array in known.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, schema: RefinerySchema, arrays: Arrays) -> Statistics:
        """Return the statistics of `schema` in `arrays`. Raises KeyError or ValueError where they do not fit."""
        made = cls(schema)
        made.n_rows = int(taken(arrays, "n_rows", np.int64, 1)[0])
        for at, field in enumerate(schema.fields):
            own = {key.removeprefix(f"{at}."): each for key, each in arrays.items() if key.startswith(f"{at}.")}
            made.fields[at] = FieldStatistics.from_arrays(field, own)
        return made


def members_of(values: bytes) -> list[bytes]:
    """Return the values of a set, as raw columns hold them: each with `SET_MARK` behind it."""
    return values.split(SET_MARK)[:-1]


def _counted_members(sets: Sequence[bytes], counts: Sequence[int]) -> tuple[list[bytes], list[int]]:
    found: dict[bytes, int] = {}
    for values, count in zip(sets, counts, strict=True):
        for member in members_of(values):
            found[member] = found.get(member, 0) + count
    return list(found), list(found.values())


def compress(field: AnyField, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the numbers whose moments a field keeps: clipped and compressed, or log1p of seconds or of a history."""
    if not isinstance(field, NumericField):
        return np.log1p(values)
    if field.clip is not None:
        low, high = field.clip
        values = np.clip(values, -np.inf if low is None else low, np.inf if high is None else high)
    return np.copysign(np.log1p(np.abs(values)), values) if field.log1p else values


def _keeps_tokens(field: AnyField) -> bool:
    return field.kind == "categorical" and field.encoding != "hash"


def _difference(one: Statistics, other: Statistics) -> str:
    for own, theirs in zip(one.schema.fields, other.schema.fields, strict=False):
        if own != theirs:
            return f"'{own.path}' ({own.kind}) and '{theirs.path}' ({theirs.kind}) differ"
    return f"{len(one.fields)} and {len(other.fields)} fields"
