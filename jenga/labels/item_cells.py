"""Cells of items: marks, names, mappings, or several of them parted by a mark; which it is, the training rows say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jenga.errors import DataError, suggest
from jenga.labels.cells import MISSING, NO, PAIRS, WHOLE, YES, CellReader, CellReading, class_name, folded, parted
from jenga.labels.column import HeadColumn, RowError, near, numbered_names, read_cell, show, some_of
from jenga.labels.forms import readable, with_missing
from jenga.labels.separators import SEPARATORS, find_separator
from jenga.labels.spaces import sized
from jenga.labels.unseen import may_be_unseen
from jenga.types import HeadSpace


class ItemReader(CellReader):
    """K independent yes/no items: float32 ``(K,)``, NaN where missing."""

    unseen_do = "no score counts them"

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        super().__init__()
        self.where = column.where
        self.cells = column.cells
        self.index = {name: position for position, name in enumerate(space.labels)}
        self.size = space.size
        self.may_be_unseen = may_be_unseen(column)
        # Items that are only numbered, or called as their column is, have no names that cells list.
        own = space.labels == (column.own_name,) and column.labels is None
        self.named = not own and space.labels != numbered_names(space.size)
        self.listable = self.index if own or self.named else {}
        self.missing = np.full(space.size, np.nan, dtype=np.float32)

    def encode(self, value: Any) -> np.ndarray:
        """Return float32 ``(K,)`` of 0, 1 and NaN; raises RowError."""
        value = read_cell(value, self.where)
        if isinstance(value, dict):
            marks: np.ndarray = self.missing.copy()
            for name, mark in value.items():
                for item in self._items([name]):
                    marks[item] = self._mark(mark)
            if len({name.strip() for name in value}) < len(value):
                raise RowError(f"{self.where}: {show(value)} gives an item twice, blanks aside; keep one of them")
            return marks
        if isinstance(value, str):
            value = self._words(value)
        elif self.size > 1 and not isinstance(value, list):
            raise self._no_list(value)
        if not isinstance(value, list):
            value = [value]
        if self._are_names(value):
            marks = np.zeros(self.size, dtype=np.float32)
            marks[self._items(value)] = 1
            return marks
        if len(value) != self.size:
            raise RowError(f"{self.where}: {len(value)} values for {self.size} items. {self._allowed()}")
        return np.array([self._mark(mark) for mark in value], dtype=np.float32)

    def stack(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 ``(M, K)``."""
        return np.array(codes, dtype=np.float32).reshape(len(codes), self.size)

    def _words(self, text: str) -> list[Any]:
        """Return what a cell of text says as a list: names of items, or marks."""
        if self.cells.marks:
            return self.cells.parts(text) or [text]
        if text.strip() in self.listable:
            return [text]
        if self.cells.separator:
            return self.cells.parts(text)
        mark = self.cells.mark(text)
        if self.size == 1 and mark is not None:
            return [mark]
        if not text.strip() and self.named:
            return []
        if self.may_be_unseen and self.named and self._may_be_name(text.strip()):
            return [text]
        raise self._no_list(text)

    def _are_names(self, words: list[Any]) -> bool:
        if not all(isinstance(word, str) for word in words) or not (words or self.named):
            return False
        return not self.cells.marks or (self.named and all(word.strip() in self.index for word in words))

    def _no_list(self, value: Any) -> RowError:
        return RowError(f"{self.where}: {show(value)} is no list of items. {self._allowed()}")

    def _items(self, names: Sequence[str]) -> list[int]:
        """Return the places of items; one that no training row has has none, and is told of."""
        found = []
        for name in map(str.strip, names):
            if name not in self.index and self.may_be_unseen and self.named and self._may_be_name(name):
                self.unseen[f"{show(name)}{suggest(name, self.index)}"] += 1
                continue
            found.append(self._item(name))
        return found

    def _may_be_name(self, name: str) -> bool:
        return bool(name) and name.casefold() not in MISSING and self.cells.mark(name) is None

    def _item(self, name: str) -> int:
        if name not in self.index and self.cells.is_missing(name):
            raise RowError(
                f"{self.where}: {show(name)} stands among items, but means that there is no label; give it alone, or "
                "set `missing_values` of the head to a list without it if it is an item"
            )
        if name not in self.index:
            raise RowError(f"{self.where}: {show(name)} is no item{near(name, self.index)} {self._allowed()}")
        return self.index[name]

    def _mark(self, mark: Any) -> float:
        if self.cells.is_missing(mark):
            return float("nan")
        if (said := self.cells.mark(mark)) is None:
            raise RowError(
                f"{self.where}: {show(mark)} is no mark of an item; allowed: 1, 0 and null, and the words of "
                "`true_values`, `false_values` and `missing_values`"
            )
        return said

    def _allowed(self) -> str:
        named = f", or item names: {some_of(self.index)}" if self.named else ""
        return f"Allowed: a list of {self.size} marks, each 1, 0 or null{named}"


def settle_items(column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
    """Return `column` with its reading decided by `cells`, and what to tell of it."""
    reading = column.cells
    answers = folded((*reading.true, *reading.false))
    usual = [word for word in MISSING if word not in answers]
    guess = with_missing(column, usual, blank="" not in answers)
    values = readable(cells)
    texts = Counter(value.strip() for value in values if isinstance(value, str) and not guess.is_missing(value))
    blanks = sum(isinstance(value, str) and not value.strip() for value in values)
    lists = [value for value in values if isinstance(value, list) and value and all(isinstance(x, str) for x in value)]
    marks, separator = reading.marks, reading.separator
    warnings: list[str] = []
    if marks is None:
        marks = bool(column.joined) or _are_marks(column, guess, texts, lists)
    if separator is None:
        separator = WHOLE if marks else _separator_of_marks(column, guess, texts)
        if not separator and not marks:
            separator, warnings = _separator(column, texts)
    if reading.marks is None and separator:
        lists = [parted(text, separator, blanks=True) for text in texts.elements()]
        marks = _lists_of_marks(guess, lists)
        warnings = [] if marks else warnings
    if reading.marks is None:
        warnings += _strange_lists(guess, lists) if marks else _names_like_marks(column, texts, lists)
        warnings += _strange_pairs(guess, texts) if marks and not separator else []
        if column.labels is None and len(texts) == 2 and not (marks or separator or lists):
            both = " or ".join(map(show, sorted(texts)))
            warnings.append(
                f"each row is {both}, which are learnt as two items, one of which always holds; if they are the "
                "answers of one item, set `true_values` and `false_values` of the head"
            )
    keeps_blank = bool(marks) and "" not in answers
    # A cell of names has a way to say "none of them": it is blank.
    usual = [word for word in usual if word or not separator or keeps_blank]
    settled = replace(with_missing(column, usual, blank=keeps_blank), marks=marks, separator=separator)
    if blanks and texts and reading.missing is None:
        warnings += _blanks(settled, texts, blanks)
    return replace(column, cells=settled), warnings


def _are_marks(column: HeadColumn, guess: CellReading, texts: Counter[str], lists: Sequence[list[str]]) -> bool:
    """Return whether words are marks and not names.

    Cells are where all of them are words for yes or no; or half and more, with yes and no among them; or any, where the
    configuration gives the words. Lists: see `_lists_of_marks`.
    """
    names = set(column.labels or ())
    verdicts = []
    if texts:
        marks = {text: guess.mark(text) for text in texts if guess.mark(text) is not None and text not in names}
        count, total = sum(texts[text] for text in marks), texts.total()
        most = 2 * count >= total and len(set(marks.values())) == 2 and not guess.separator
        said = (guess.true, guess.false) != (YES, NO)
        verdicts.append(count == total or most or (said and count > 0))
    if lists:
        listed = any(word in names for words in lists for word in words)
        verdicts.append(not listed and _lists_of_marks(guess, lists))
    return bool(verdicts) and all(verdicts)


def _lists_of_marks(guess: CellReading, lists: Sequence[Sequence[str]]) -> bool:
    """Return whether lists of words are marks, one an item.

    They are where all their words are and all are equally long; or half and more of the lists are so, of two words or
    more, with yes and no among them. Then the others are mistakes of their rows.
    """
    lengths = Counter(len(words) for words in lists if _all_marks(guess, words))
    if not lengths:
        return False
    ((length, count),) = lengths.most_common(1)
    if count == len(lists):
        return True
    said = {guess.mark(word) for words in lists if _all_marks(guess, words) for word in words}
    return length > 1 and 2 * count >= len(lists) and said >= {0.0, 1.0}


def _all_marks(guess: CellReading, words: Sequence[str]) -> bool:
    return all(guess.mark(word) is not None or guess.is_missing(word) for word in words)


def _strange_lists(guess: CellReading, lists: Sequence[Sequence[str]]) -> list[str]:
    """Return a warning of lists that are no marks among those that are; their rows are set aside."""
    strange = [words for words in lists if not _all_marks(guess, words)]
    if not strange:
        return []
    return [
        f"{len(strange)} of {len(lists)} lists, such as {show(strange[0])}, are no marks, as most are; their rows "
        "cannot be used. If the words are names of items, list them in `labels`"
    ]


def _strange_pairs(guess: CellReading, texts: Counter[str]) -> list[str]:
    """Return a warning where the words read as yes and no are none that people use together."""
    said = {mark: sorted(text for text in texts if guess.mark(text) == mark) for mark in (1.0, 0.0)}
    yes, no = (folded(map(str, map(class_name, said[mark]))) for mark in (1.0, 0.0))
    if (guess.true, guess.false) != (YES, NO) or not yes or not no or any(y in yes and n in no for y, n in PAIRS):
        return []
    return [
        f"{', '.join(map(show, said[1.0]))} are read as yes and {', '.join(map(show, said[0.0]))} as no; set "
        "`true_values` and `false_values` of the head, or list the items in `labels` if they are names"
    ]


def _names_like_marks(column: HeadColumn, texts: Counter[str], lists: Sequence[Sequence[str]]) -> list[str]:
    """Return a warning of names that could be answers, unless the configuration lists the items."""
    words = {*texts, *(word for each in lists if _all_marks(column.cells, each) for word in each)}
    sides = {mark: [word for word in sorted(words) if column.cells.mark(word) == mark] for mark in (1.0, 0.0)}
    if column.labels is not None or not all(sides.values()):
        return []
    return [
        f"{', '.join(map(show, sides[1.0] + sides[0.0]))} are read as names of items, as most cells are names; if they "
        "are answers, correct the others; if they are names, list the items in `labels`"
    ]


def _separator_of_marks(column: HeadColumn, guess: CellReading, texts: Counter[str]) -> str:
    """Return the mark that parts cells into marks, as many as there are items where `labels` lists them; else none."""
    for separator in SEPARATORS:
        lists = [parted(text, separator, blanks=True) for text in texts.elements()]
        fitting = [
            words for words in lists if len(words) > 1 and (not column.labels or len(words) == len(column.labels))
        ]
        if 2 * len(fitting) >= len(lists) > 0 and _lists_of_marks(guess, lists):
            return separator
    return WHOLE


def _separator(column: HeadColumn, texts: Counter[str]) -> tuple[str, list[str]]:
    separator, example = find_separator(texts, column.labels or ())
    if separator:
        labels = {part for text in texts for part in parted(text, separator)}
        return separator, [
            f"cells such as {show(example)} are read as several labels parted by '{separator}' ({len(labels)} labels "
            f"in all); set `label_separator: '{separator}'` of the head if they are, and `label_separator: none` if "
            "each is one label"
        ]
    if example:
        marks = " or ".join(f"'{mark}'" for mark in SEPARATORS if mark in example)
        return WHOLE, [
            f"cells such as {show(example)} are read as one label each, though {marks} may part several; set "
            "`label_separator` of the head to the mark, or to none"
        ]
    return WHOLE, []


def _blanks(reading: CellReading, texts: Counter[str], blanks: int) -> list[str]:
    if reading.is_missing(""):
        if not reading.marks:
            return [
                f"{blanks} blank cells are read as missing labels; where they mean that none of the labels holds, "
                "give `missing_values` of the head without '', such as [N/A]"
            ]
        one_sided = {reading.mark(text) for text in texts} == {1.0}
        return [
            f"{blanks} blank cells are read as missing labels, and all others as yes; where blank means no, set "
            "`false_values: ['']` of the head"
        ] * one_sided
    return [] if reading.marks else [
        f"{blanks} blank cells are read as none of the labels; where they mean that the labels are not known, "
        "list '' among `missing_values` of the head"
    ]  # fmt: skip


def item_names(column: HeadColumn, values: Sequence[Any]) -> tuple[str, ...]:
    """Return the names of the items that `values` hold, or their numbers. Raises DataError."""
    cells = column.cells
    if column.joined:
        return column.joined
    if column.labels is not None:
        return _independent(column, column.labels)
    names: set[str] = set()
    lengths: Counter[int] = Counter()
    for value in readable(values):
        if isinstance(value, str) and (cells.marks or cells.separator or not isinstance(class_name(value), int)):
            value = cells.parts(value)
        if isinstance(value, dict):
            names.update(name.strip() for name in value)
        elif isinstance(value, list) and value and not cells.marks and all(isinstance(name, str) for name in value):
            # A word for "no label" among names is a mistake of its row.
            names.update(name.strip() for name in value if not cells.is_missing(name))
        elif value != []:
            lengths[len(value) if isinstance(value, list) else 1] += 1
    if names:
        return _independent(column, sized(column, tuple(sorted(names))))
    size = column.size or (lengths.most_common(1)[0][0] if lengths else 0)
    return (column.own_name,) if size == 1 else numbered_names(size)


def _independent(column: HeadColumn, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of items. Raises DataError where they are the two answers of one."""
    # Labels that are numbers are positions or names of their own, but not 0 and 1 alone, where nobody lists them.
    numbered = any(isinstance(class_name(name), int) for name in names)
    if column.labels is None and set(names) == {"0", "1"}:
        raise DataError(
            f"{column.where}: 0 and 1 alone are read as names of items; if they are the names, list them in `labels`; "
            "if they are marks, give each row as many as there are items, or set `label_separator` of the head"
        )
    if not numbered and {column.cells.mark(name) for name in names} == {0.0, 1.0} and len(names) == 2:
        raise DataError(
            f"{column.where}: {some_of(names)} are the two answers of one item, and not two items; leave `labels` out "
            "or give it the item's name, or set `true_values` and `false_values` of the head if they are names"
        )
    return names
