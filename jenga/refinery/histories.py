"""What an entity, such as a user or a host, did before a row: how often, with which values, and how unusual this is.

Rows are taken in their order, and a row is told of those before it that are no later than itself. Of an entity the rows
are kept that lie within the window before its latest one: a row that comes late is told of these alone, and one that
lies further back than they begins anew, so that a time far ahead spoils no more than the rows until then.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jenga.refinery.entities import named
from jenga.refinery.fields import AnyField, HistoryField
from jenga.refinery.sketches import Arrays, taken
from jenga.refinery.statistics import ABSENT, NUMBER_KINDS, PRESENT, UNKNOWN, RawBlock

_NO_VALUE = 0
_KEY_BYTES = 8
_FEW_ROWS = 100
_LATE_SHARE = 0.1
"""Share of rows that come late from which on a call warns of them, and the rows from which on it is judged."""


class Past:
    """The rows of one entity within the window, in the order of their times, and keys of their values."""

    __slots__ = ("times", "values")

    def __init__(self, times: Sequence[float] = (), values: Sequence[int] = ()) -> None:
        self.times, self.values = array("d", times), array("Q", values)

    def cut(self, first: int) -> None:
        """Forget the rows before `first`."""
        del self.times[:first], self.values[:first]


class History:
    """The past of up to `max_entities` entities, of each up to `max_events` rows; see the module.

    n_rows: how many had a row of the same entity before them; n_late: how many of these were earlier than the latest.
    """

    def __init__(self, window_s: float, *, max_entities: int, max_events: int) -> None:
        self._window_s, self._max_entities, self._max_events = window_s, max_entities, max_events
        # Who was heard of last stands last. Of whom nothing was heard since `take`: where its rows stand among those.
        self._pasts: dict[int, Past | slice] = {}
        self.n_rows, self.n_late = 0, 0
        self._carried: tuple[NDArray[np.float64], NDArray[np.uint64]] = (np.empty(0), np.empty(0, np.uint64))

    def before(self, entity: int, time: float) -> Past:
        """Return what is known of an entity, where a row of it with this time has come; `add` has to follow."""
        past = self._pasts.pop(entity, None)
        if past is None:
            if len(self._pasts) == self._max_entities:
                del self._pasts[next(iter(self._pasts))]
            past = Past()
        elif isinstance(past, slice):
            # Rows that are scored once more must not count as their own past.
            past = self._rows(past, until=time)
        if past.times:
            latest = past.times[-1]
            if time < latest - self._window_s:
                past = Past()
            elif gone := bisect_right(past.times, max(time, latest) - self._window_s):
                past.cut(gone)
            self.n_rows += 1
            self.n_late += time < latest
        self._pasts[entity] = past
        return past

    def add(self, past: Past, time: float, value: int, at: int) -> None:
        """Put a row in its place, `at`."""
        past.times.insert(at, time)
        past.values.insert(at, value)
        if len(past.times) > self._max_events:
            past.cut(1)

    @property
    def mixed_up(self) -> bool:
        """Whether so many rows come late that what is told of them is cut short."""
        return self.n_rows >= _FEW_ROWS and self.n_late > _LATE_SHARE * self.n_rows

    @property
    def crowded(self) -> bool:
        """Whether as many entities are remembered as may be."""
        return len(self._pasts) == self._max_entities

    def to_arrays(self) -> Arrays:
        """Return what `take` reads back."""
        pasts = [self._rows(past) if isinstance(past, slice) else past for past in self._pasts.values()]
        return {
            "entities": np.array(list(self._pasts), np.uint64),
            "sizes": np.array([len(past.times) for past in pasts], np.int64),
            "times": np.array([time for past in pasts for time in past.times], np.float64),
            "values": np.array([value for past in pasts for value in past.values], np.uint64),
        }

    def take(self, arrays: Arrays) -> None:
        """Begin with what another history ended with. Raises KeyError or ValueError where that is none."""
        sizes = taken(arrays, "sizes", np.int64)
        entities = taken(arrays, "entities", np.uint64, len(sizes))
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        self._carried = (taken(arrays, "times", np.float64, total), taken(arrays, "values", np.uint64, total))
        if len(sizes) and (sizes.min() < 0 or sizes.max() > self._max_events or len(sizes) > self._max_entities):
            raise ValueError("a history holds more than its schema allows")
        self._pasts = dict(zip(entities.tolist(), map(slice, (ends - sizes).tolist(), ends.tolist()), strict=True))

    def copy(self) -> History:
        """Return a history that goes on by itself from what this one took; none of its rows may have come yet."""
        made = History(self._window_s, max_entities=self._max_entities, max_events=self._max_events)
        made._carried, made._pasts = self._carried, dict(self._pasts)
        return made

    def _rows(self, where: slice, *, until: float = math.inf) -> Past:
        times, values = (each[where].tolist() for each in self._carried)
        last = bisect_left(times, until)
        return Past(times[:last], values[:last])


Values: TypeAlias = "array[int]"
"""Keys of the values of the rows before."""


def _events(values: Values, own: int) -> float:
    return len(values)


def _distinct(values: Values, own: int) -> float:
    return len(set(values))


def _new(values: Values, own: int) -> float:
    return 0.0 if own in values else 1.0


def _surprise(values: Values, own: int) -> float:
    return math.log((len(values) + 1) / (values.count(own) + 1))


_TELLS: Mapping[str, Callable[[Values, int], float]] = {
    "events": _events, "distinct": _distinct, "new": _new, "surprise": _surprise,
}  # fmt: skip
"""What each `tells` of a field makes of the rows before, and of the key of the row's own value."""


# -------------------------------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True)
class Column:
    """Where a field stands in a block: its place among the states, and its slot among the numbers or the texts."""

    at: int
    slot: int
    is_number: bool

    def present(self, block: RawBlock) -> NDArray[np.bool_]:
        """Return which rows have the value ``(n,)``."""
        return np.isin(block.states[:, self.at], (PRESENT, UNKNOWN))


@dataclass(frozen=True)
class Group:
    """Fields that are told by one history: whose it is, by which time, and of which value, None where it has none."""

    by: Column
    time: Column
    of: Column | None
    settings: tuple[float, int, int]
    told: list[tuple[Column, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """The histories of a schema's fields. `missing`: texts that name nobody."""

    groups: tuple[Group, ...]
    missing: tuple[str, ...]

    @property
    def columns(self) -> list[Column]:
        """Where the told fields stand, in the order of the schema."""
        return sorted((column for group in self.groups for column, _ in group.told), key=lambda column: column.at)


def layout_of(fields: Sequence[AnyField], missing: Sequence[str]) -> Layout | None:
    """Return the histories that `fields` are told by; None where no field is."""
    columns, slots = {}, {True: 0, False: 0}
    for at, each in enumerate(fields):
        is_number = each.kind in NUMBER_KINDS
        columns[each.path] = Column(at, slots[is_number], is_number)
        slots[is_number] += 1
    groups: dict[Any, Group] = {}
    for each in fields:
        if not isinstance(each, HistoryField):
            continue
        settings = (each.window_s, each.max_entities, each.max_events)
        by, time = columns[each.by], columns[each.time_of(fields)]
        of = None if each.of is None else columns[each.of]
        group = groups.setdefault((by, time, of, settings), Group(by, time, of, settings))
        group.told.append((columns[each.path], each.tells))
    return Layout(tuple(groups.values()), tuple(missing)) if groups else None


class Histories:
    """The histories of a layout, which go on from block to block."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._histories = [
            History(window_s, max_entities=max_entities, max_events=max_events)
            for window_s, max_entities, max_events in (group.settings for group in layout.groups)
        ]

    def told(self, block: RawBlock) -> RawBlock:
        """Return `block` with what is told of its rows, in their order, in the slots of the fields that tell it.

        A row that names nobody, or has no time or not the value, is told nothing: the field is absent.
        """
        numbers, states = block.numbers.copy(), block.states.copy()
        for group, history in self._both():
            rows = group.by.present(block) & group.time.present(block)
            if group.of is not None:
                rows &= group.of.present(block)
            names = named(block.texts(group.by.slot, rows).to_pylist(), self._layout.missing)
            somebody = np.array([name is not None for name in names], np.bool_)
            rows[np.flatnonzero(rows)[~somebody]] = False
            entities = map(_key, (name for name in names if name is not None))
            times = block.numbers[rows, group.time.slot].tolist()
            found = np.array(list(_walk(history, group, entities, times, _values(block, group.of, rows))), np.float64)
            for place, (column, _) in enumerate(group.told):
                numbers[:, column.slot] = np.nan
                states[:, column.at] = np.where(rows, PRESENT, ABSENT)
                if len(found):
                    numbers[rows, column.slot] = found[:, place]
        return block._replace(numbers=numbers, states=states)

    def crowded(self) -> list[Column]:
        """Return of each history that remembers as many entities as it may a field that it tells."""
        return [group.told[0][0] for group, each in self._both() if each.crowded]

    def mixed_up(self) -> list[Column]:
        """Return of each history whose rows are not in the order of time a field that it tells."""
        return [group.told[0][0] for group, each in self._both() if each.mixed_up]

    def _both(self) -> Iterator[tuple[Group, History]]:
        return zip(self._layout.groups, self._histories, strict=True)

    def to_arrays(self) -> Arrays:
        """Return what `from_arrays` reads back."""
        found = ((f"{at}.", history.to_arrays()) for at, history in enumerate(self._histories))
        return {f"{prefix}{name}": array for prefix, arrays in found for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, layout: Layout, arrays: Arrays) -> Histories:
        """Return histories that begin with those in `arrays`. Raises KeyError or ValueError where they do not fit."""
        made = cls(layout)
        for at, history in enumerate(made._histories):
            prefix = f"{at}."
            own = {name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)}
            history.take(own)
        return made

    def left(self) -> Histories:
        """Return histories that begin with what these have come to."""
        return Histories.from_arrays(self._layout, self.to_arrays())

    def copy(self) -> Histories:
        """Return histories that go on by themselves from what these began with, at the cost of an entry an entity."""
        made = Histories(self._layout)
        made._histories = [history.copy() for history in self._histories]
        return made


def _walk(
    history: History, group: Group, entities: Iterator[int], times: Sequence[float], values: Iterator[int]
) -> Iterator[list[float]]:
    tell = [_TELLS[tells] for _, tells in group.told]
    for entity, time, value in zip(entities, times, values, strict=True):
        past = history.before(entity, time)
        at = bisect_right(past.times, time)
        before = past.values if at == len(past.values) else past.values[:at]
        yield [each(before, value) for each in tell]
        history.add(past, time, value, at)


def _values(block: RawBlock, of: Column | None, rows: NDArray[np.bool_]) -> Iterator[int]:
    """Yield a key of each row's value."""
    if of is None:
        yield from [_NO_VALUE] * int(rows.sum())
    elif of.is_number:
        # As bits, but for the two zeros, which are one number.
        yield from (block.numbers[rows, of.slot] + 0.0).view(np.uint64).tolist()
    else:
        yield from map(_key, block.texts(of.slot, rows).to_pylist())


def _key(text: bytes) -> int:
    """Return what stands for a text: of a million texts no two have the same, but for one time in 37 million."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=_KEY_BYTES).digest(), "little")
