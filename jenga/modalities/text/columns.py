"""Texts as they stand in rows, with a second text or their words where tasks want these."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, cast

import numpy as np

from jenga.errors import DataError
from jenga.labels import kind_named
from jenga.labels.base import Span
from jenga.labels.cells import is_missing
from jenga.labels.column import BlankError, HeadColumn, RowError, encodable, show
from jenga.modalities.text.turns import turns_of, written
from jenga.rows.columns import find_column, first_cell, lookup, no_column
from jenga.rows.content import Content, ContentSpec, Item
from jenga.rows.raw import RawRows
from jenga.rows.strings import Zipped, picked


@dataclass
class Texts(Content):
    """The texts of M rows; `pairs`: the second of each, where there is one. The rest is as in `Content`."""

    shared: ClassVar[str] = "a text that is"

    texts: Sequence[str] = field(default_factory=list)
    pairs: Sequence[str] | None = None
    words: list[list[Span]] | None = None
    as_words: Sequence[bool] = field(default_factory=list)

    @property
    def stored(self) -> tuple[dict[str, Sequence[str]], dict[str, np.ndarray]]:
        """The texts, and which were given as words."""
        assert self.words is None, "words are held in memory alone"
        pairs = {} if self.pairs is None else {"pair": self.pairs}
        return {"text": self.texts, **pairs}, {"as_words": np.array(self.as_words, bool)}

    @classmethod
    def of_stored(cls, texts: Mapping[str, Sequence[str]], arrays: Mapping[str, np.ndarray]) -> Self:
        """Return the texts of what `stored` gave."""
        return cls(texts["text"], texts.get("pair"), None, cast(Sequence[bool], arrays["as_words"]))

    def take(self, at: np.ndarray) -> Texts:
        """Return the texts at `at`."""
        return Texts(
            picked(self.texts, at),
            None if self.pairs is None else picked(self.pairs, at),
            None if self.words is None else picked(self.words, at),
            picked(self.as_words, at) if len(self.as_words) else [],
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the texts of `parts` one after the other."""
        pairs, words = ([getattr(part, name) for part in parts] for name in ("pairs", "words"))
        return cls(
            [text for part in parts for text in part.texts],
            None if pairs[0] is None else [each for part in pairs for each in part],
            None if words[0] is None else [each for part in words for each in part],
            [each for part in parts for each in part.as_words],
        )

    def keys(self) -> Sequence[Hashable]:
        """Return both texts of each row."""
        return Zipped((self.texts, self.texts if self.pairs is None else self.pairs))


@dataclass(frozen=True)
class TextColumns(ContentSpec):
    """Where texts stand: in the first of the columns `text` that a file has.

    Words in a list are joined by spaces, turns of a conversation are lines that begin with their speaker.

    `pair`: the column of a second text. `max_length`: tokens kept of a row.
    """

    form: ClassVar[str] = "text"
    kept: ClassVar[type[Content] | None] = Texts

    text: tuple[str, ...]
    pair: str | None = None
    max_length: int = 256

    def reader(self, raw: RawRows, *, learning: bool, per_word: bool) -> TextReader:
        """Return what reads texts. Raises DataError where the file has no column of them."""
        return TextReader(raw, self, per_word=per_word)

    def found(self, raw: RawRows) -> TextColumns | None:
        """Return the columns that `raw` has; None where one is missing."""
        column = _find(raw.rows, self.text)
        if column is None or (self.pair is not None and find_column(raw.rows, (self.pair,)) is None):
            return None
        return replace(self, text=(column,))

    @property
    def wanted(self) -> tuple[str, ...]:
        """The likeliest column of each text."""
        return (self.text[0], *filter(None, (self.pair,)))

    @property
    def readable(self) -> tuple[str, ...]:
        """The candidates for each text."""
        return (*self.text, *filter(None, (self.pair,)))

    def given(self, value: object) -> dict[str, Any] | None:
        """Return the columns of a row that is given as a text."""
        if not isinstance(value, str):
            return None
        return {"text" if "text" in self.text else self.text[0]: value}

    def check(self, heads: Sequence[HeadColumn]) -> None:
        """Raise ValueError where a head is labelled by the text itself, or no text or token is read."""
        if any(kind_named(head.kind).from_text for head in heads):
            raise ValueError("a head learns texts, but its rows are not texts to learn")
        if not self.text:
            raise ValueError("no column of texts is named")
        if self.max_length < 1:
            raise ValueError(f"max_length is {self.max_length}")


class TextReader:
    """Reads the texts of one file."""

    def __init__(self, raw: RawRows, spec: TextColumns, *, per_word: bool) -> None:
        """Raises DataError where the file has no such column."""
        self.per_word = per_word
        self.text = _column(raw, "text", spec.text, "Set columns.text of the task")
        self.pair = _column(raw, "second text", (spec.pair,), "Set columns.text_pair") if spec.pair else None

    def read(self, row: Mapping[str, Any]) -> Item:
        """Return the texts of a row. Raises RowError where it holds none."""
        text, words = _text(row, self.text, per_word=self.per_word)
        pair = "" if self.pair is None else _text(row, self.pair, per_word=False)[0]
        return Item((pair, words is not None), text, words)

    def collect(self, items: Sequence[Item]) -> Texts:
        """Return the texts of rows."""
        return Texts(
            [item.text for item in items],
            None if self.pair is None else [item.value[0] for item in items],
            [item.words or [] for item in items] if self.per_word else None,
            [item.value[1] for item in items],
        )


def _column(raw: RawRows, what: str, candidates: Sequence[str], fix: str) -> str:
    column = _find(raw.rows, candidates)
    if column is None and raw.rows:
        raise DataError(no_column(f"{raw.file}: {what}", candidates, raw.examples, fix=fix))
    return column or candidates[0]


def _find(rows: Sequence[Mapping[str, Any]], candidates: Sequence[str]) -> str | None:
    """Return the column of texts; one that says where the words of another stand, as Prodigy's ``tokens``, is none."""
    return find_column(rows, [column for column in candidates if not _holds_places(rows, column)] or candidates)


def _holds_places(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    cell = first_cell(rows, column)
    return isinstance(cell, list) and bool(cell) and isinstance(cell[0], Mapping) and {"start", "end"} <= cell[0].keys()


def _text(row: Mapping[str, Any], column: str, *, per_word: bool) -> tuple[str, list[Span] | None]:
    value = lookup(row, column)
    words = None
    if type(value) is str and value[:1].isalnum() and value.isascii():
        return value, None  # most are so: nothing else can be meant
    if (turns := turns_of(value)) is not None:
        if per_word:
            raise RowError(f"column '{column}': turns have no words that a head could label; give one text a row")
        value = written(turns)
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
        raise BlankError(f"column '{column}' is empty; allowed: text")
    if not isinstance(value, str):
        raise RowError(f"column '{column}' is {show(value)}; allowed: text, or a list of words or of {{speaker, text}}")
    return encodable(value, column), words
