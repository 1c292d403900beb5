"""Given rows as a model's tasks read them."""

from __future__ import annotations

import json
import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from jenga.labels.cells import is_missing
from jenga.rows.columns import lookup
from jenga.rows.parse import Parser, Rows, SourceSpec, parse_rows
from jenga.rows.raw import RawRows
from jenga.rows.spooled import Spooled

logger = logging.getLogger(__name__)


ASIDE = ""
"""Key under which an answer carries its whole row, as a `Given`; no task and no column has this name."""
_MOST_DIGITS = 300
_FEW_ROWS = 64
Warn = Callable[[str, str], None]


def _log(subject: str, words: str) -> None:
    logger.warning("%s", words)


@dataclass(frozen=True)
class Reading:
    """Tasks whose rows are read and cut alike, so that one encoding and one encoder pass do for all of them."""

    spec: SourceSpec
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Parsed:
    """Rows as one reading sees them, and why one cannot be used, by its number."""

    reading: Reading
    rows: Rows
    bad: dict[int, str]

    def taken(self, numbers: Sequence[int]) -> Rows:
        """Return the rows `numbers`."""
        if len(numbers) == len(self.rows):
            return self.rows
        place = {number: at for at, number in enumerate(self.rows.numbers)}
        return self.rows.take([place[number] for number in numbers])


def readings(raw: RawRows, specs: Sequence[SourceSpec], *, warn: Warn = _log) -> list[Reading]:
    """Return how the columns that the rows have are read, with a warning for tasks whose columns they lack.

    warn: called with the subject of a warning and its words.

    Raises DataError where no task finds its columns.
    """
    groups: dict[Hashable, list[SourceSpec]] = {}
    for spec in specs:
        content = spec.content.found(raw)
        if content is not None:
            key = (content, spec.name) if content.alone else (content, "")
            groups.setdefault(key, []).append(replace(spec, content=content))
    if not groups:
        parse_rows(raw, specs[0], spaces=None, with_labels=False)
        return []
    read = {spec.name for group in groups.values() for spec in group}
    for spec in specs:
        if spec.name not in read:
            wanted = "', '".join(spec.content.wanted)
            warn(spec.name, f"{raw.file}: no column '{wanted}', so there is nothing for {spec.name}")
    # Tasks that are answered alone come first.
    ordered = sorted(groups.values(), key=lambda group: not group[0].content.alone)
    return [_joined(group) for group in ordered]


def _joined(specs: Sequence[SourceSpec]) -> Reading:
    # A file without labels taught what is normal; it can judge nothing.
    heads = tuple(replace(head, absent=None) for spec in specs for head in spec.heads)
    spec = replace(specs[0], name="+".join(each.name for each in specs), heads=heads)
    return Reading(spec, tuple(dict.fromkeys(head.task for head in heads)))


class Reader:
    """Parses rows without their labels, a piece at a time, by the columns that all of them have."""

    def __init__(self, raw: RawRows, reading: Reading) -> None:
        self.reading = reading
        self._parser = Parser(raw, reading.spec, {})

    def parse(self, piece: RawRows) -> Parsed:
        """Parse `piece`, rows of those that the reader was made for."""
        rows, bad = self._parser.run(piece)
        return Parsed(self.reading, rows, {row.number: row.reason for row in bad})


@dataclass(frozen=True)
class Plan:
    """How the pieces of `rows` are read: as all of these say, whatever a piece lacks.

    It may be handed to another process, with no more of the rows than it takes to see how they are read.
    """

    rows: RawRows
    readings: list[Reading]

    @cached_property
    def readers(self) -> list[Reader]:
        """What parses pieces, one for each of the readings."""
        return [Reader(self.rows, reading) for reading in self.readings]

    def __reduce__(self) -> tuple[Any, ...]:
        size = _FEW_ROWS
        while size < len(self.rows.rows) and not self._does(head := self.rows.piece(slice(size), [])):
            size *= 2
        return type(self), (head if size < len(self.rows.rows) else self.rows.piece(slice(None), []), self.readings)

    def _does(self, head: RawRows) -> bool:
        """Whether rows are read alike where `head` is all that is known of them."""
        return all(reading.spec.content.found(head) == reading.spec.content for reading in self.readings)


def joined(ids: Mapping[int, str], parts: Sequence[Mapping[int, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the answer of each row: its name, by number, and what each of `parts` has of it."""
    some = [part for part in parts if part]
    found = []
    for number, name in ids.items():
        answer: dict[str, Any] = {"id": name}
        for part in some:
            if number in part:
                answer |= part[number]
        found.append(answer)
    return found


class Reasons:
    """Why rows cannot be used, each reason of a row once; by number."""

    def __init__(self, first: Mapping[int, str]) -> None:
        self._of_row = {number: [reason] for number, reason in first.items()}

    def add(self, found: Iterable[tuple[int, str]]) -> None:
        """Add reasons, each beside the number of its row."""
        for number, reason in found:
            known = self._of_row.setdefault(number, [])
            if reason not in known:
                known.append(reason)

    def told(self) -> dict[int, dict[str, str]]:
        """Return what answers say of it."""
        return {number: {"error": "; ".join(reasons)} for number, reasons in self._of_row.items()}


def pieces(raw: RawRows, size: int) -> Iterator[RawRows]:
    """Yield `raw` in pieces of `size` rows, unreadable ones among them, in the order of their numbers."""
    bad = sorted(raw.bad, key=lambda row: row.number)
    every = sorted([*raw.numbers, *(row.number for row in bad)])
    start = used = 0
    for first in range(0, max(len(every), 1), size):
        last = every[first : first + size][-1] if every else 0
        end, until = bisect_right(raw.numbers, last), bisect_right(bad, last, key=lambda row: row.number)
        yield raw.piece(slice(start, end), bad[used:until])
        start, used = end, until


def names(raw: RawRows, column: str) -> dict[int, str]:
    """Return the name of each row, bad ones too, by its number and in that order: its `column`, else the number."""
    found = {number: str(number) for number in sorted([*raw.numbers, *(bad.number for bad in raw.bad)])}
    for number, row in zip(raw.numbers, raw.rows, strict=True):
        if row and (name := lookup(row, column)) is not None and not is_missing(name):
            found[number] = str(name)
    return found


class Given(Mapping[str, Any]):
    """All that a row holds, read when somebody looks; nothing of what is no JSON."""

    __slots__ = ("_at", "_content", "_found")

    def __init__(self, content: Sequence[Any], at: int) -> None:
        self._content, self._at = content, at
        self._found: Mapping[str, Any] | None = None

    def _row(self) -> Mapping[str, Any]:
        if self._found is None:
            row = self._content[self._at]
            self._found = row if isinstance(row, Mapping) else _parsed(row)
        return self._found

    def __getitem__(self, name: str) -> Any:
        return self._row()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row())

    def __len__(self) -> int:
        return len(self._row())


def _parsed(row: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(row, parse_int=_whole)
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(digits: str) -> int | str:
    # No float holds longer ones, and Python refuses to read very long ones, which would hide all else of the row.
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def carried(raw: RawRows, keep: Sequence[str], *, whole: bool) -> dict[int, dict[str, Any]]:
    """Return what answers carry over from their rows, by number: columns `keep`, and where asked the `whole` row."""
    if not keep and not whole:
        return {}
    found: dict[int, dict[str, Any]] = {}
    empty: list[Any] = [{}]
    content = raw.content
    for at, (number, row) in enumerate(zip(raw.numbers, raw.rows, strict=True)):
        kept = {name: shown(lookup(row, name)) for name in keep} if keep else {}
        if whole:
            kept[ASIDE] = Given(content, at)
        found[number] = kept
    for bad in raw.bad:
        found[bad.number] = dict.fromkeys(keep) | ({ASIDE: Given(empty, 0)} if whole else {})
    return found


def shown(value: Any) -> Any:
    """Return a cell as an answer may carry it over: what JSON has; NaN as None, and bytes and arrays in words alone."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): shown(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    if isinstance(value, bytes | bytearray | memoryview | Spooled):
        return f"{len(value)} bytes"
    if isinstance(value, np.ndarray):
        return f"{' x '.join(map(str, value.shape))} numbers"
    return shown(value.item()) if isinstance(value, np.generic) else str(value)
