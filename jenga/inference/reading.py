"""Given rows as a model's tasks read them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jenga.data.columns import find_column, is_missing, lookup
from jenga.data.dialogue import LanguageSpec
from jenga.data.parse import Parser
from jenga.data.readers import RawRows
from jenga.data.rows import Rows, SourceSpec, parse_rows
from jenga.data.tabular import Events
from jenga.inputs import TabularInputs

logger = logging.getLogger(__name__)

GIVEN = "the given rows"
"""Name in messages of rows that come from no file."""

RowsLike = str | bytes | Mapping[str, Any] | Sequence[str] | Sequence[bytes] | Sequence[Mapping[str, Any]] | RawRows


@dataclass(frozen=True)
class Reading:
    """Tasks whose rows are read and cut alike, so that one encoding and one encoder pass do for all of them."""

    spec: SourceSpec
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Parsed:
    """Rows as one reading sees them, by their number: where in `rows` each stands, and why one cannot be used.

    `as_words`: the numbers of the rows whose text was given as a list of words.
    """

    reading: Reading
    rows: Rows
    place: dict[int, int]
    bad: dict[int, str]
    as_words: frozenset[int]


def as_raw(rows: RowsLike, specs: Sequence[SourceSpec]) -> RawRows:
    """Return texts or mappings as rows numbered from 1; a text fills the text column of each of `specs`."""
    if isinstance(rows, RawRows):
        return rows
    given: object = rows
    if not isinstance(given, Sequence):
        advice = "give a text, or a list of texts or of mappings (for a table: table.to_dict('records'))"
        raise TypeError(f"rows: got {type(rows).__name__}; {advice}")
    raw = RawRows(GIVEN)
    for number, row in enumerate([rows] if isinstance(rows, str) else rows, start=1):
        if isinstance(row, str):
            raw.add(number, dict(_given(row, spec) for spec in specs))
        else:
            raw.add(number, dict(row) if isinstance(row, Mapping) else row)
    return raw


def _given(text: str, spec: SourceSpec) -> tuple[str, Any]:
    """Return the column, and its cell, in which `spec` reads a text that was given as it is."""
    if spec.language is None:
        return "text" if "text" in spec.text else spec.text[0], text
    if spec.language.messages:
        return spec.language.messages[0], [{"role": "user", "content": text}]
    return (spec.language.prompt or spec.language.text)[0], text


def as_events(rows: RowsLike, inputs: TabularInputs, specs: Sequence[SourceSpec]) -> Events:
    """Return events given as JSON (text or bytes) or mappings, one or several, numbered from 1."""
    if isinstance(rows, Events):
        return rows
    if isinstance(rows, RawRows):
        return inputs.given(rows.rows, specs, file=rows.file, numbers=rows.numbers, bad=rows.bad)
    given: object = [rows] if isinstance(rows, str | bytes | Mapping) else rows
    if not isinstance(given, Sequence):
        advice = "give an event, or a list of events, as mappings or JSON (for a table: table.to_dict('records'))"
        raise TypeError(f"rows: got {type(rows).__name__}; {advice}")
    events: dict[int, Any] = {}
    others = RawRows(GIVEN)
    for number, row in enumerate(given, start=1):
        if isinstance(row, str | bytes | Mapping):
            events[number] = dict(row) if isinstance(row, Mapping) else row
        else:
            others.add(number, row)
    return inputs.given(list(events.values()), specs, file=GIVEN, numbers=list(events), bad=others.bad)


def readings(raw: RawRows, specs: Sequence[SourceSpec]) -> list[Reading]:
    """Return how the columns that the rows have are read, with a warning for tasks whose columns they lack.

    Events are read alike by all tasks. Raises DataError where no task finds its columns.
    """
    if not specs[0].text and specs[0].language is None:
        return [_joined(specs, ())]
    found = []
    groups: dict[tuple[Any, ...], list[SourceSpec]] = {}
    for spec in specs:
        if spec.language is not None:
            if (not raw.rows or _has_dialogues(raw, spec.language)) or len(specs) == 1:
                found.append(_joined([spec], ()))
            continue
        column = find_column(raw.rows, spec.text)
        pair = find_column(raw.rows, (spec.text_pair,)) if spec.text_pair else None
        if column is not None and pair == spec.text_pair:
            groups.setdefault((column, pair, spec.max_length), []).append(spec)
    if not groups and not found:
        parse_rows(raw, specs[0], spaces=None, with_labels=False)
        return []
    read = {reading.spec.name for reading in found} | {spec.name for group in groups.values() for spec in group}
    for spec in specs:
        if spec.name not in read:
            columns = (spec.language.prompt or spec.language.text or spec.language.messages) if spec.language else ()
            wanted = "', '".join(filter(None, (*columns[:1], *spec.text[:1], spec.text_pair)))
            logger.warning("%s: no column '%s', so there is nothing for %s", raw.file, wanted, spec.name)
    return [*found, *(_joined(group, (column,)) for (column, *_), group in groups.items())]


def _has_dialogues(raw: RawRows, language: LanguageSpec) -> bool:
    columns = (*language.text, *language.prompt, *language.messages)
    return find_column(raw.rows, columns) is not None


def _joined(specs: Sequence[SourceSpec], text: tuple[str, ...]) -> Reading:
    # A file without labels taught what is normal; it can judge nothing.
    heads = tuple(replace(head, absent=None) for spec in specs for head in spec.heads)
    spec = replace(specs[0], name="+".join(each.name for each in specs), text=text, heads=heads)
    return Reading(spec, tuple(dict.fromkeys(head.task for head in heads)))


class Reader:
    """Parses rows without their labels, a piece at a time, by the columns that all of them have."""

    def __init__(self, raw: RawRows, reading: Reading) -> None:
        self.reading = reading
        self._parser = Parser(raw, reading.spec, {})

    def parse(self, piece: RawRows) -> Parsed:
        """Parse `piece`, rows of those that the reader was made for."""
        rows, bad = self._parser.run(piece)
        text = self.reading.spec.text
        return Parsed(
            reading=self.reading,
            rows=rows,
            place={number: at for at, number in enumerate(rows.numbers)},
            bad={row.number: row.reason for row in bad},
            as_words=frozenset(
                number
                for number, row in zip(piece.numbers, piece.rows, strict=True)
                if text and isinstance(lookup(row, text[0]), list)
            ),
        )


def pieces(raw: RawRows, size: int) -> Iterator[RawRows]:
    """Yield `raw` as pieces of `size` rows in order, each with the unreadable ones before the next piece."""
    bad = deque(sorted(raw.bad, key=lambda row: row.number))
    for start in range(0, max(len(raw.rows), 1), size):
        last = start + size >= len(raw.rows)
        own = []
        while bad and (last or bad[0].number < raw.numbers[start + size]):
            own.append(bad.popleft())
        yield raw.piece(slice(start, start + size), own)


def names(raw: RawRows, column: str) -> dict[int, str]:
    """Return the name of each row, bad ones too, by its number and in that order: its `column`, else the number."""
    found = {number: str(number) for number in sorted([*raw.numbers, *(bad.number for bad in raw.bad)])}
    for number, row in zip(raw.numbers, raw.rows, strict=True):
        if not is_missing(name := lookup(row, column)):
            found[number] = str(name)
    return found
