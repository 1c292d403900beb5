"""What rows hold beside their names and labels, and how it is read of them: each modality brings its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from jenga.errors import DataError
from jenga.labels.base import Span
from jenga.labels.cells import is_missing
from jenga.labels.column import BlankError, HeadColumn
from jenga.rows.columns import find_column, lookup, no_column
from jenga.rows.raw import RawRows


@dataclass(slots=True)
class Item:
    """The content of one row. `text` and `words`, its words' characters, are what labels of words are read by."""

    value: Any = None
    text: str = ""
    words: list[Span] | None = None


class Content(ABC):
    """The content of M rows.

    `texts`, `words` and `as_words` (whether a row was given as words) are empty where rows have no text; `words` is
    None where no head labels them. `answers`: what each row says to its own prompt, None where it says nothing; empty
    where rows have no prompts.
    """

    texts: Sequence[str] = ()
    words: Sequence[list[Span]] | None = None
    as_words: Sequence[bool] = ()
    shared: ClassVar[str] = "content that is"
    """How a warning calls what two rows share."""

    @property
    def answers(self) -> Sequence[str | None]:
        return ()

    @property
    def stored(self) -> tuple[dict[str, Sequence[str]], dict[str, np.ndarray]]:
        """All of it as texts and as arrays, each by a name and one a row, where it can be kept on disk so.

        Raises TypeError elsewhere; see `ContentSpec.kept`.
        """
        raise TypeError(f"{type(self).__name__} is held in memory alone")

    @classmethod
    def of_stored(cls, texts: Mapping[str, Sequence[str]], arrays: Mapping[str, np.ndarray]) -> Self:
        """Return the content of what `stored` gave."""
        raise TypeError(f"{cls.__name__} is held in memory alone")

    @abstractmethod
    def take(self, at: np.ndarray) -> Self:
        """Return the content of the rows at `at`, int64, in its order."""

    @classmethod
    @abstractmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the content of `parts`, at least one, one after the other."""

    def keys(self) -> Sequence[Hashable]:
        """Return what is equal of rows that hold the same, one a row; () where that is not known yet."""
        return ()


@dataclass
class Cells(Content):
    """Cells of some columns as they stand in the rows, by the name that the modality has for each; () of none.

    They are decoded when a batch is made of them, or looked up elsewhere, such as the features of an event.
    """

    columns: dict[str, list[Any]] = field(default_factory=dict)

    def take(self, at: np.ndarray) -> Self:
        """Return the cells of the rows at `at`."""
        return replace(self, columns={name: [cells[row] for row in at] for name, cells in self.columns.items()})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the cells of `parts` one after the other."""
        names = parts[0].columns
        return cls({name: [cell for part in parts for cell in part.columns[name]] for name in names})

    def keys(self) -> Sequence[Hashable]:
        """Return the cells of each row as text, arrays by all that they hold."""
        return [tuple(map(_key, cells)) for cells in zip(*self.columns.values(), strict=True)]


def _key(cell: Any) -> Hashable:
    return (cell.shape, cell.tobytes()) if isinstance(cell, np.ndarray) else repr(cell)


class ContentReader(Protocol):
    """Reads the content of the rows of one file."""

    def read(self, row: Mapping[str, Any]) -> Item:
        """Return the content of a row. Raises RowError where it cannot be used."""

    def collect(self, items: Sequence[Item]) -> Content:
        """Return the content of rows, as `read` gave it."""


@dataclass(frozen=True)
class ContentSpec(ABC):
    """How the content of rows is read: from which columns, the likeliest first, and whatever else decides it.

    It travels with the model, as JSON. `form`: its name there, among those of its modality. `alone`: whether tasks
    that read alike are answered one by one all the same. `by_place`: whether equal rows in different folders may hold
    different content, as those that name files beside them do. `kept`: what its readers give, where that can be kept on
    disk.
    """

    form: ClassVar[str]
    alone: ClassVar[bool] = False
    by_place: ClassVar[bool] = False
    kept: ClassVar[type[Content] | None] = None

    @abstractmethod
    def reader(self, raw: RawRows, *, learning: bool, per_word: bool) -> ContentReader:
        """Return what reads the rows of a file. Raises DataError where it lacks the columns.

        learning: whether each row needs something to learn in it. per_word: whether some head labels words.
        """

    @abstractmethod
    def found(self, raw: RawRows) -> Self | None:
        """Return how just the rows of `raw` are read; None where they lack the columns."""

    @property
    @abstractmethod
    def wanted(self) -> tuple[str, ...]:
        """The columns that rows should have, for messages."""

    @property
    def readable(self) -> tuple[str, ...]:
        """The columns that content may stand in."""
        return self.wanted

    def by_backbone(self, encoder: str) -> dict[str, ContentSpec]:
        """Return how the content of each backbone is read, by its name; encoder: what reads the rows."""
        return {encoder: self}

    def settled(self, raw: RawRows) -> Self:
        """Return how rows are read after training on those of the file `raw`."""
        return self

    def given(self, value: object) -> dict[str, Any] | None:
        """Return the columns of a row that is given as its content alone, such as a text; None where none can be."""
        return None

    def check(self, heads: Sequence[HeadColumn]) -> None:
        """Raise ValueError where `heads` cannot be labelled by such rows."""
        return


@dataclass(frozen=True)
class CellColumns(ContentSpec):
    """Cells of `columns`: pairs of the name that the modality has for a column, and the candidates for it.

    A subclass may look at cells as they are read, in `cell`.
    """

    form: ClassVar[str] = "cells"

    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def cell(self, name: str, value: Any, raw: RawRows) -> Any:
        """Return what is kept of a cell that is not missing. Raises RowError for one that cannot be used.

        raw: the rows that it stands in.
        """
        return value

    def reader(self, raw: RawRows, *, learning: bool, per_word: bool) -> CellReader:
        """Return what reads the cells. Raises DataError where the file lacks a column."""
        return CellReader(self, raw)

    def found(self, raw: RawRows) -> Self | None:
        """Return the columns that `raw` has; None where one is missing."""
        there = [(name, find_column(raw.rows, candidates)) for name, candidates in self.columns]
        if any(column is None for _, column in there):
            return None
        return replace(self, columns=tuple((name, (column,)) for name, column in there if column is not None))

    @property
    def wanted(self) -> tuple[str, ...]:
        """The likeliest column of each."""
        return tuple(candidates[0] for _, candidates in self.columns)


class CellReader:
    """Reads the cells of one file, each column by its name."""

    def __init__(self, spec: CellColumns, raw: RawRows) -> None:
        """Raises DataError where the file lacks a column."""
        self.spec, self.raw = spec, raw
        self.columns: dict[str, str] = {}
        for name, candidates in spec.columns:
            column = find_column(raw.rows, candidates)
            if column is None and raw.rows:
                fix = f"Set columns.{name} of the task"
                raise DataError(no_column(f"{raw.file}: {name}", candidates, raw.examples, fix=fix))
            self.columns[name] = column or candidates[0]

    def read(self, row: Mapping[str, Any]) -> Item:
        """Return the cells of a row. Raises RowError where one is missing or cannot be used."""
        found = {}
        for name, column in self.columns.items():
            value = lookup(row, column)
            if is_missing(value):
                raise BlankError(f"column '{column}' is empty")
            found[name] = self.spec.cell(name, value, self.raw)
        return Item(found)

    def collect(self, items: Sequence[Item]) -> Cells:
        """Return the cells of rows by column."""
        return Cells({name: [item.value[name] for item in items] for name in self.columns})
