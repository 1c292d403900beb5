"""Raw rows parsed: texts, words and label arrays, each unusable row set aside with its reason."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jenga.labels import kind_named
from jenga.labels.base import Reader
from jenga.labels.cells import is_missing, json_text
from jenga.labels.column import BlankError, HeadColumn, RowError, encodable
from jenga.labels.unseen import unseen_warnings
from jenga.labels.words import split_words, words_by_space
from jenga.rows.columns import label_place, lookup
from jenga.rows.content import Cells, Content, ContentSpec, Item
from jenga.rows.raw import RAW_LENGTH, BadRow, RawRows
from jenga.rows.readers import FileForm
from jenga.rows.strings import picked
from jenga.types import SHARED, HeadSpace

logger = logging.getLogger(__name__)
Key = tuple[str, str]
Spaces = Mapping[Key, HeadSpace]


@dataclass(frozen=True)
class SourceSpec:
    """Files that one set of rows comes from, and the columns to read.

    `train`, `valid`, `test`: paths; without valid, valid rows are cut from train, and without both, test rows too.
    `content`: how what the encoder reads is read of a row, `encoder`: the name of that one of the model's. `form`: how
    the files are written. `skip_blank`: whether rows without content that are to learn or to judge are passed over, and
    are no bad ones. `marks`: columns whose cells tell the rows of stages apart; `slices`: those by which rows are
    judged apart. Both are kept beside the rows.
    """

    name: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    id: str
    heads: tuple[HeadColumn, ...]
    content: ContentSpec
    form: FileForm = field(default_factory=FileForm)
    skip_blank: bool = False
    encoder: str = SHARED
    marks: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()


@dataclass
class Rows:
    """Parsed rows of one split.

    `content`: what is encoded of them. `labels` by (task, head): a column of M labels, as the head's kind lays them out
    (`jenga.labels`); none of a head whose labels are the content itself. `marks` by column: the M cells, as they stand.
    """

    ids: Sequence[str] = field(default_factory=list)
    files: Sequence[str] = field(default_factory=list)
    numbers: Sequence[int] = field(default_factory=list)
    content: Content = field(default_factory=Cells)
    labels: dict[Key, Any] = field(default_factory=dict)
    marks: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Sequence[int] | np.ndarray) -> Rows:
        """Return the rows at `index`, in its order."""
        at = np.asarray(index, dtype=np.int64)
        if len(at) == len(self) and (at == np.arange(len(at))).all():
            return self
        return Rows(
            ids=picked(self.ids, at),
            files=picked(self.files, at),
            numbers=picked(self.numbers, at),
            content=self.content.take(at),
            labels={key: picked(column, at) for key, column in self.labels.items()},
            marks={name: picked(column, at) for name, column in self.marks.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Return the rows of `parts` (at least one) one after the other."""

        def join(columns: list[Any]) -> Any:
            if isinstance(columns[0], np.ndarray):
                return np.concatenate(columns)
            return [cell for column in columns for cell in column]

        first = parts[0]
        return cls(
            ids=join([part.ids for part in parts]),
            files=join([part.files for part in parts]),
            numbers=join([part.numbers for part in parts]),
            content=type(first.content).joined([part.content for part in parts]),
            labels={key: join([part.labels[key] for part in parts]) for key in first.labels},
            marks={name: join([part.marks[name] for part in parts]) for name in first.marks},
        )


# ------------------------------------------------------------------------------------------------------------- parsing


def parse_rows(
    raw: RawRows, spec: SourceSpec, *, spaces: Spaces | None, with_labels: bool
) -> tuple[Rows, list[BadRow]]:
    """Parse the rows of one file with given label spaces, and return them with all bad rows (`raw.bad` included).

    Without `with_labels` no label column is looked at, `labels` stays empty and `spaces` may be None. Raises DataError
    when the file lacks a column that the content is read from. Repairs of tags are logged.
    """
    assert spaces is not None or not with_labels
    parser = Parser(raw, spec, spaces if with_labels and spaces is not None else {})
    rows, bad = parser.run()
    for warning in [*note_warnings(parser.notes), *unseen_warnings(parser.unseen), *parser.blank_warnings()]:
        logger.warning("%s: %s", raw.file, warning)
    return rows, bad


def note_warnings(notes: Counter[tuple[str, str]]) -> list[str]:
    """Return the repairs counted in `Parser.notes` as warnings."""
    return [f"{where}: {note.format(count)}" for (where, note), count in sorted(notes.items())]


class Parser:
    """Parses one file; `notes` counts repairs of labels by head and what is told of them.

    `skipped`: rows without content that were passed over so far.
    """

    def __init__(self, raw: RawRows, spec: SourceSpec, spaces: Spaces) -> None:
        self.raw = raw
        self.spec = spec
        self.labelled, self.skipped = bool(spaces), 0
        self.with_words = any(kind_named(head.kind).per_word for head in spec.heads)
        self.content = spec.content.reader(raw, learning=self.labelled, per_word=self.with_words)
        heads = [head for head in spec.heads if head.key in spaces and not kind_named(head.kind).from_text]
        self.places = {head.key: label_place(raw.rows, head) for head in heads}
        self.absent = {head.key: head.absent for head in heads}
        self.readers: dict[Key, Reader] = {
            head.key: kind_named(head.kind).reader(head, spaces[head.key]) for head in heads
        }

    def run(self, piece: RawRows | None = None) -> tuple[Rows, list[BadRow]]:
        """Return the rows and all bad rows of the file, or of a piece of it, in its order."""
        raw = piece or self.raw
        rows = Rows(marks={name: [] for name in (*self.spec.marks, *self.spec.slices)} if self.labelled else {})
        ids: list[str] = []
        numbers: list[int] = []
        items: list[Item] = []
        codes: dict[Key, list[Any]] = {key: [] for key in self.places}
        bad = list(raw.bad)
        for number, row in zip(raw.numbers, raw.rows, strict=True):
            try:
                name, item, labels = self._parsed(row)
            except BlankError as error:
                if self.spec.skip_blank and self.labelled:
                    self.skipped += 1
                else:
                    bad.append(BadRow(raw.file, number, str(error), json_text(row)[:RAW_LENGTH]))
                continue
            except RowError as error:
                bad.append(BadRow(raw.file, number, str(error), json_text(row)[:RAW_LENGTH]))
                continue
            ids.append(name or str(number))
            numbers.append(number)
            items.append(item)
            for mark, cells in rows.marks.items():
                cells.append(lookup(row, mark))
            for key, code in labels.items():
                codes[key].append(code)
        rows.ids, rows.files, rows.numbers = ids, [raw.file] * len(ids), numbers
        rows.content = self.content.collect(items)
        for key, column in codes.items():
            rows.labels[key] = self.readers[key].stack(column)
        return rows, sorted(bad, key=lambda row: row.number)

    def _parsed(self, row: dict[str, Any]) -> tuple[str, Item, dict[Key, Any]]:
        cell = lookup(row, self.spec.id)
        name = "" if cell is None or is_missing(cell) else encodable(str(cell), self.spec.id)
        item = self.content.read(row)
        if not self.readers and not self.with_words:
            return name, item, {}
        if self.with_words and item.words is None:
            by_space = any(reader.by_space(self._cell(row, key)) for key, reader in self.readers.items())
            item.words = words_by_space(item.text) if by_space else split_words(item.text)
        text, words = item.text, item.words or []
        labels = {key: reader.read(self._cell(row, key), text, words) for key, reader in self.readers.items()}
        return name, item, labels

    def _cell(self, row: dict[str, Any], key: Key) -> Any:
        place = self.places[key]
        return self.absent.get(key) if place is None else place(row)

    def blank_warnings(self) -> list[str]:
        """Return how many rows were passed over, in words; nothing where none was."""
        if not self.skipped:
            return []
        return [
            f"{self.skipped} of {len(self.raw.rows)} rows have no content and are passed over (data.blank_rows: skip)"
        ]

    @property
    def notes(self) -> Counter[tuple[str, str]]:
        """Repairs so far, by head and what is told of them."""
        readers = self.readers.values()
        return Counter({(reader.where, note): count for reader in readers for note, count in reader.notes.items()})

    @property
    def unseen(self) -> Counter[tuple[str, str, str]]:
        """Labels so far that no training row has, by head, what they do to its scores, and label in words."""
        found: Counter[tuple[str, str, str]] = Counter()
        for reader in self.readers.values():
            found.update({(reader.where, reader.unseen_do, label): count for label, count in reader.unseen.items()})
        return found
