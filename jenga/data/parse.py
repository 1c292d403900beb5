"""Raw rows parsed: texts, words and label arrays, each unusable row set aside with its reason."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jenga.data.columns import find_column, lookup, no_column
from jenga.data.dialogue import Dialogue, DialogueReader, LanguageSpec, encodable
from jenga.data.readers import RAW_LENGTH, BadRow, RawRows
from jenga.errors import DataError
from jenga.labels import kind_named
from jenga.labels.base import Reader, Span
from jenga.labels.cells import is_missing, json_text
from jenga.labels.column import HeadColumn, RowError, show
from jenga.labels.words import split_words, words_by_space
from jenga.types import HeadSpace

logger = logging.getLogger(__name__)
Key = tuple[str, str]
Spaces = Mapping[Key, HeadSpace]


@dataclass(frozen=True)
class SourceSpec:
    """Files that one set of rows comes from, and the columns to read.

    `train`, `valid`, `test`: paths; without valid, valid rows are cut from train, and without both, test rows too.
    `text`: candidate columns, the first that occurs in a file is used; a list of words is joined by single spaces.
    Without any, rows are events: no text is read of them. `language`: rows are texts to learn, read as it says.
    """

    name: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    text: tuple[str, ...]
    text_pair: str | None
    id: str
    heads: tuple[HeadColumn, ...]
    max_length: int = 256
    language: LanguageSpec | None = None


@dataclass
class Rows:
    """Parsed rows of one split.

    `texts`: empty where rows are events or dialogues. `dialogues`: only of a language task. `words`: character spans of
    the words of each text, only where a head labels words.
    `labels` by (task, head): a column of M labels, as the head's kind lays them out (`jenga.labels`); none of a head
    whose labels are the text itself.
    """

    ids: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    pairs: list[str] | None = None
    words: list[list[Span]] | None = None
    labels: dict[Key, Any] = field(default_factory=dict)
    dialogues: list[Dialogue] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Sequence[int] | np.ndarray) -> Rows:
        """Return the rows at `index`, in its order."""
        at = np.asarray(index, dtype=np.int64)

        def pick(column: Any) -> Any:
            return column[at] if isinstance(column, np.ndarray) else [column[row] for row in at]

        return Rows(
            ids=pick(self.ids),
            files=pick(self.files),
            numbers=pick(self.numbers),
            texts=pick(self.texts) if self.texts else [],
            pairs=None if self.pairs is None else pick(self.pairs),
            words=None if self.words is None else pick(self.words),
            labels={key: pick(column) for key, column in self.labels.items()},
            dialogues=None if self.dialogues is None else pick(self.dialogues),
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
            texts=join([part.texts for part in parts]),
            pairs=None if first.pairs is None else join([part.pairs for part in parts]),
            words=None if first.words is None else join([part.words for part in parts]),
            labels={key: join([part.labels[key] for part in parts]) for key in first.labels},
            dialogues=None if first.dialogues is None else join([part.dialogues for part in parts]),
        )


# ------------------------------------------------------------------------------------------------------------- parsing


def parse_rows(
    raw: RawRows, spec: SourceSpec, *, spaces: Spaces | None, with_labels: bool
) -> tuple[Rows, list[BadRow]]:
    """Parse the rows of one file with given label spaces, and return them with all bad rows (`raw.bad` included).

    Without `with_labels` no label column is looked at, `labels` stays empty and `spaces` may be None. Raises DataError
    when the file has no text column. Repairs of tags are logged.
    """
    assert spaces is not None or not with_labels
    parser = Parser(raw, spec, spaces if with_labels and spaces is not None else {})
    rows, bad = parser.run()
    for warning in note_warnings(parser.notes):
        logger.warning("%s: %s", raw.file, warning)
    return rows, bad


def note_warnings(notes: Counter[tuple[str, str]]) -> list[str]:
    """Return the repairs counted in `Parser.notes` as warnings."""
    return [f"{where}: {note.format(count)}" for (where, note), count in sorted(notes.items())]


class Parser:
    """Parses one file; `notes` counts repairs of labels by head and what is told of them."""

    def __init__(self, raw: RawRows, spec: SourceSpec, spaces: Spaces) -> None:
        self.raw = raw
        self.spec = spec
        self.text = self._column("text", spec.text, "Set columns.text of the task") if spec.text else None
        self.pair = self._column("second text", (spec.text_pair,), "Set columns.text_pair") if spec.text_pair else None
        self.dialogues = None if spec.language is None else DialogueReader(raw, spec.language, answered=bool(spaces))
        heads = [head for head in spec.heads if head.key in spaces and not kind_named(head.kind).from_text]
        self.columns = {head.key: find_column(raw.rows, head.candidates) for head in heads}
        self.absent = {head.key: head.absent for head in heads}
        self.readers: dict[Key, Reader] = {
            head.key: kind_named(head.kind).reader(head, spaces[head.key]) for head in heads
        }
        self.with_words = any(kind_named(head.kind).per_word for head in spec.heads)

    def _column(self, what: str, candidates: Sequence[str], fix: str) -> str:
        column = find_column(self.raw.rows, candidates)
        if column is None and self.raw.rows:
            raise DataError(no_column(f"{self.raw.file}: {what}", candidates, self.raw.examples, fix=fix))
        return column or candidates[0]

    def run(self, piece: RawRows | None = None) -> tuple[Rows, list[BadRow]]:
        """Return the rows and all bad rows of the file, or of a piece of it, in its order."""
        raw = piece or self.raw
        rows = Rows(
            pairs=[] if self.pair else None,
            words=[] if self.with_words else None,
            dialogues=None if self.dialogues is None else [],
        )
        codes: dict[Key, list[Any]] = {key: [] for key in self.columns}
        bad = list(raw.bad)
        for number, row in zip(raw.numbers, raw.rows, strict=True):
            try:
                dialogue = None if self.dialogues is None else self.dialogues.read(row)
                name, text, pair, words, labels = self._parsed(row)
            except RowError as error:
                bad.append(BadRow(raw.file, number, str(error), json_text(row)[:RAW_LENGTH]))
                continue
            rows.ids.append(name or str(number))
            rows.files.append(raw.file)
            rows.numbers.append(number)
            if rows.dialogues is not None and dialogue is not None:
                rows.dialogues.append(dialogue)
            if self.text is not None:
                rows.texts.append(text)
            if rows.pairs is not None:
                rows.pairs.append(pair)
            if rows.words is not None:
                rows.words.append(words)
            for key, code in labels.items():
                codes[key].append(code)
        for key, column in codes.items():
            rows.labels[key] = self.readers[key].stack(column)
        return rows, sorted(bad, key=lambda row: row.number)

    def _parsed(self, row: dict[str, Any]) -> tuple[str, str, str, list[Span], dict[Key, Any]]:
        cell = lookup(row, self.spec.id)
        name = "" if is_missing(cell) else encodable(str(cell), self.spec.id)
        text, words = _text(row, self.text) if self.text is not None else ("", None)
        pair = _text(row, self.pair)[0] if self.pair else ""
        cells = {key: self._cell(row, key) for key in self.readers}
        if self.with_words and words is None:
            by_space = any(reader.by_space(cells[key]) for key, reader in self.readers.items())
            words = words_by_space(text) if by_space else split_words(text)
        labels = {key: reader.read(cells[key], text, words or []) for key, reader in self.readers.items()}
        return name, text, pair, words or [], labels

    def _cell(self, row: dict[str, Any], key: Key) -> Any:
        column = self.columns[key]
        return self.absent.get(key) if column is None else lookup(row, column)

    @property
    def notes(self) -> Counter[tuple[str, str]]:
        """Repairs so far, by head and what is told of them."""
        return Counter(
            {(reader.where, note): count for reader in self.readers.values() for note, count in reader.notes.items()}
        )


def _text(row: Mapping[str, Any], column: str) -> tuple[str, list[Span] | None]:
    value = lookup(row, column)
    words = None
    if isinstance(value, list) and value:
        for at, word in enumerate(value):
            if not isinstance(word, str) or not word.strip():
                raise RowError(f"column '{column}': word {at} is {show(word)}; allowed: words that are not blank")
        words, start = [], 0
        for word in value:
            words.append((start, start + len(word)))
            start += len(word) + 1
        value = " ".join(value)
    if is_missing(value) or value == []:
        raise RowError(f"column '{column}' is empty; allowed: text")
    if not isinstance(value, str):
        raise RowError(f"column '{column}' is {show(value)}; allowed: text, or a list of words")
    return encodable(value, column), words
