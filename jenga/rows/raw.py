"""Rows as they stand in a file, before anything is read of them, and those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

from jenga.labels.cells import json_text

RAW_LENGTH = 500
Refuse = Callable[[int, str, str], None]
"""Called with the number of a line, or a row, why it is none, and what stands there."""
GIVEN, STANDARD_INPUT, REQUEST = "the given rows", "standard input", "the request"
"""Names in messages of rows that come from no file; those of a request come over a network."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used. `number`: 1-based line of a text file, else row; `raw`: its first 500 characters."""

    file: str
    number: int
    reason: str
    raw: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: {self.reason}"


@dataclass
class RawRows:
    """The rows of one file as they stand there; `numbers[i]` is the line (else the row) of `rows[i]`, from 1.

    `file`: the name by which a run tells files apart, see `jenga.rows.readers.place_of`. `numbers` ascend. `told`: how
    the file was read, where it could be read otherwise. `table`: whether cells are text, blank where there is nothing.
    `folder`: that of several files that are read as one. `digest`: SHA-256 of the file, where its rows are not held but
    read anew by each pass over them; None elsewhere.
    """

    file: str
    rows: Sequence[dict[str, Any]] = field(default_factory=list)
    numbers: Sequence[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    table: bool = False
    folder: str | None = None
    digest: bytes | None = None

    @property
    def in_hand(self) -> bool:
        """Whether the rows are a caller's own words, and no data: what is piped in may come from anywhere."""
        return self.file == GIVEN

    @property
    def remote(self) -> bool:
        """Whether the rows are the words of somebody on a network, who is to learn nothing of the files here."""
        return self.file == REQUEST

    @property
    def home(self) -> Path | None:
        """The folder of the rows' file, which paths in cells are relative to; None where it is on no disk here.

        Of standard input it is the working directory.
        """
        if self.remote:
            return None
        if self.folder is not None:
            return Path(self.folder).absolute()
        if self.file == STANDARD_INPUT:
            return Path.cwd()
        return Path(self.file).absolute().parent if Path(self.file).exists() else None

    @property
    def examples(self) -> Sequence[dict[str, Any]]:
        """The rows with all their columns, for messages."""
        return self.rows

    @property
    def content(self) -> Sequence[Any]:
        """All that each row holds."""
        return self.rows

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of `parts`, which are of one name and kind, one after the other, with numbers of their own.

        The last number of a part may be any; those of the next one follow it.
        """
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        refused: list[BadRow] = []
        before = 0
        for part in parts:
            rows += part.rows
            numbers += [before + number for number in part.numbers]
            refused += [replace(bad, number=before + bad.number) for bad in part.bad]
            before += max([*part.numbers[-1:], *(bad.number for bad in part.bad)], default=0)
        return replace(parts[0], rows=rows, numbers=numbers, bad=refused)

    def piece(self, at: slice, bad: list[BadRow]) -> Self:
        """Return the rows at `at`, with `bad` for those that cannot be read among them."""
        return replace(self, rows=self.rows[at], numbers=self.numbers[at], bad=bad)

    def pieces(self, n_rows: int) -> Iterator[Self]:
        """Yield the rows in order, some at a time where they are not held; `bad` of a piece is empty."""
        yield replace(self, bad=[])

    def add(self, number: int, row: Any) -> None:
        """Keep `row` if it is an object with columns, else set it aside."""
        if (found := object_in(number, row, self.refuse)) is not None:
            # Rows that are added are held, in lists.
            cast(list[dict[str, Any]], self.rows).append(found)
            cast(list[int], self.numbers).append(number)

    def add_all(self, rows: Iterable[Any]) -> Self:
        """Add `rows`, numbered from 1, and return itself."""
        for number, row in enumerate(rows, start=1):
            self.add(number, row)
        return self

    def refuse(self, number: int, reason: str, raw: str) -> None:
        """Set a row aside."""
        self.bad.append(BadRow(self.file, number, reason, raw[:RAW_LENGTH]))


def object_in(number: int, row: Any, refuse: Refuse) -> dict[str, Any] | None:
    """Return a row as an object with columns; None, once it is refused, where it is none."""
    if isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], dict):
        # As spaCy's training data have it.
        row = {"text": row[0], **row[1]}
    if isinstance(row, dict):
        return row
    what = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}.get(type(row), "a number")
    refuse(number, f"the row is {what}, not an object with columns", json_text(row))
    return None
