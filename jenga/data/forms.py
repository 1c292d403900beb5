"""How the cells of a head are to be read, decided once by its training rows; what could be read otherwise is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jenga.data.cells import MISSING, NO, WHOLE, YES, CellReading, class_name, folded, parted
from jenga.data.labels import HeadColumn, RowError, read_cell, show, some_of

SEPARATORS = ("|", ";", ",")
_RECUR = 0.75
"""Share of the parts that must stand in other cells too, for a mark inside cells to be a separator."""


@dataclass(frozen=True)
class Settled:
    """A head with its reading decided, the cells that hold a label, and what to tell of it."""

    column: HeadColumn
    labels: list[Any]
    warnings: list[str]


def settle(column: HeadColumn, cells: Sequence[Any]) -> Settled:
    """Decide what `column` leaves open by `cells`, the head's training cells that are not null; blank ones are there.

    What the configuration, or the training of a saved model, has decided stays as it is, and nothing is told of it.
    """
    if column.kind == "items":
        settled, warnings = _items(column, cells)
    elif column.kind == "class":
        settled, warnings = _classes(column, cells)
    else:
        # A number that came out as NaN went wrong; that is no missing one.
        words = [word for word in MISSING if column.kind != "number" or word != "nan"]
        settled, warnings = replace(column, cells=_with_missing(column, words)), []
    labels = [cell for cell in cells if not settled.cells.is_missing(cell)]
    if column.cells.missing is None:
        warnings = [*_missing_words(settled, cells), *warnings]
    return Settled(settled, labels, [f"{column.where}: {words}" for words in warnings])


def _with_missing(column: HeadColumn, usual: Collection[str], *, blank: bool = True) -> CellReading:
    """Return the reading with its words for no label: those given, else the usual ones; a configured label is none."""
    given = column.cells.missing
    words = tuple(usual if given is None else given)
    words = (*words, "") if blank and "" not in words else words
    labels = folded(column.labels or ())
    return replace(column.cells, missing=tuple(word for word in words if word.strip().casefold() not in labels))


def _missing_words(column: HeadColumn, cells: Sequence[Any]) -> list[str]:
    found = Counter(cell.strip() for cell in cells if isinstance(cell, str) and column.cells.is_missing(cell))
    found.pop("", None)
    if not found:
        return []
    return [f"{_times(found)} are read as missing labels; `missing_values` of the head says what is missing"]


def _times(words: Counter[str]) -> str:
    return some_of(f"{count} cells {show(word)}" for word, count in words.most_common())


# -------------------------------------------------------------------------------------------------------------- classes


def _classes(column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
    asked = column.cells.missing is None
    usual = folded(MISSING)
    texts = Counter(cell.strip() for cell in cells if isinstance(cell, str) and cell.strip())
    doubtful = Counter({text: count for text, count in texts.items() if text.casefold() in usual})
    others = [class_name(cell) for cell in cells if not (isinstance(cell, str) and cell.strip().casefold() in usual)]
    if column.labels is not None or not asked:
        return replace(column, cells=_with_missing(column, ("",))), []
    if others and all(isinstance(name, int) for name in others):
        return replace(column, cells=_with_missing(column, MISSING)), []
    warnings = []
    if doubtful:
        words = ", ".join(map(show, sorted(doubtful)))
        warnings.append(
            f"{_times(doubtful)} are learnt as classes; set `missing_values: [{words}]` of the head where they mean "
            "that there is no label, or `missing_values: []` where they are classes"
        )
    separator, example = find_separator(texts, ())
    if separator:
        warnings.append(
            f"cells such as {show(example)} look like several labels parted by '{separator}', and each combination is "
            "a class of its own; multi_label_classification learns the labels apart"
        )
    return replace(column, cells=_with_missing(column, ("",))), warnings


# ---------------------------------------------------------------------------------------------------------------- items


def _items(column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
    reading = column.cells
    answers = folded((*reading.true, *reading.false))
    usual = [word for word in MISSING if word not in answers]
    guess = _with_missing(column, usual, blank="" not in answers)
    values = _readable(cells)
    texts = Counter(value.strip() for value in values if isinstance(value, str) and not guess.is_missing(value))
    blanks = sum(isinstance(value, str) and not value.strip() for value in values)
    lists = [value for value in values if isinstance(value, list) and value and all(isinstance(x, str) for x in value)]
    marks, separator = reading.marks, reading.separator
    warnings: list[str] = []
    if marks is None:
        marks = _are_marks(column, guess, texts, lists)
    if separator is None:
        separator, warnings = (WHOLE, []) if marks else _separator(column, texts)
    if separator and reading.marks is None:
        marks = _lists_of_marks(guess, [parted(text, separator) for text in texts])
        warnings = [] if marks else warnings
    if reading.marks is None and not marks:
        warnings += _names_like_marks(column, texts)
    keeps_blank = bool(marks) and "" not in answers
    # A cell of names has a way to say "none of them": it is blank.
    usual = [word for word in usual if word or not separator or keeps_blank]
    settled = replace(_with_missing(column, usual, blank=keeps_blank), marks=marks, separator=separator)
    if blanks and texts and reading.missing is None:
        warnings += _blanks(settled, texts, blanks)
    return replace(column, cells=settled), warnings


def _readable(cells: Sequence[Any]) -> list[Any]:
    found = []
    for cell in cells:
        try:
            found.append(read_cell(cell, ""))
        except RowError:
            continue
    return found


def _are_marks(column: HeadColumn, guess: CellReading, texts: Counter[str], lists: Sequence[list[str]]) -> bool:
    """Return whether words are marks and not names.

    Cells are where all of them are words for yes or no; or half and more, with yes and no among them; or any, where the
    configuration gives the words. Lists are where all their words are and all are equally long.
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


def _lists_of_marks(guess: CellReading, lists: Sequence[list[str]]) -> bool:
    def is_mark(word: str) -> bool:
        return guess.mark(word) is not None or guess.is_missing(word)

    return len({len(words) for words in lists}) == 1 and all(is_mark(word) for words in lists for word in words)


def _names_like_marks(column: HeadColumn, texts: Counter[str]) -> list[str]:
    """Return a warning of names that could be answers, unless the configuration lists the items."""
    sides = {mark: [text for text in sorted(texts) if column.cells.mark(text) == mark] for mark in (1.0, 0.0)}
    if column.labels is not None or not all(sides.values()):
        return []
    return [
        f"{', '.join(map(show, sides[1.0] + sides[0.0]))} are read as names of items, as most cells are names; if they "
        "are answers, correct the others; if they are names, list the items in `labels`"
    ]


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


def find_separator(texts: Counter[str], names: Collection[str]) -> tuple[str, str]:
    """Return the mark that parts several labels of a cell, and a cell with it; where none does, a cell that might.

    texts: cells with their counts. names: the labels, where the configuration lists them. Otherwise a mark parts
    labels where three quarters of the parts stand in other cells too, alone or among others: those of one label that
    merely holds the mark, such as "fees, charges", do not.
    """
    doubtful = ""
    for mark in SEPARATORS:
        cells = {text: parted(text, mark) for text in texts if mark in text and text not in names}
        if not cells:
            continue
        homes = Counter(part for text in texts for part in set(cells.get(text, (text,))))
        total = sum(texts[text] * len(parts) for text, parts in cells.items())
        known = sum(
            texts[text] * sum(part in names if names else homes[part] > 1 for part in parts)
            for text, parts in cells.items()
        )
        # The plainest cell to show: one of the shortest with the mark.
        example = min(cells, key=lambda text: (len(cells[text]) < 2, len(text), text))
        if total and known >= _RECUR * total:
            return mark, example
        doubtful = doubtful or example
    return WHOLE, doubtful


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
