"""Tables of text, CSV and its kin: which mark parts their cells, and their rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice

from jenga.errors import DataError
from jenga.rows.raw import RawRows, Refuse

MARKS = (",", ";", "\t", "|")
_LOOKED_AT = 100
# Cells beyond the csv module's own limit of 131,072 characters occur: whole conversations, articles.
_CELL_LENGTH = 2**31 - 1
_EXCEL = "sep="
_NAMES = {"\t": "a tab"}


def read_table(raw: RawRows, text: str, *, usual: str, given: str | None = None) -> None:
    """Add the rows below the header of a table, each with the cells of the columns that have a name, as text.

    usual: the mark between cells where the header shows no other. given: the mark that it is.
    """
    mark, header_line = layout(raw, text, usual=usual, given=given)
    for number, row in table_rows(raw.file, _lines(text), mark, raw.refuse, header_line=header_line):
        raw.add(number, row)


def layout(raw: RawRows, text: str, *, usual: str, given: str | None) -> tuple[str, int]:
    """Return the mark that parts the cells of a table, whose first lines `text` has, and the line of its header.

    The rest is as in `read_table`. What might be read otherwise is told in `raw`.
    """
    raw.table = True
    # Excel's own first line, which other programs take for a header.
    skipped = text.startswith(_EXCEL) and text[5:6] in ("\n", "\r")
    mark = given or (text[4] if skipped else None)
    if mark is None:
        mark, words = find_delimiter(text, usual)
        raw.told += [f"{raw.file}: {words}"] if words else []
    return mark, 2 if skipped else 1


def find_delimiter(text: str, usual: str) -> tuple[str, str]:
    """Return the mark that parts the cells of a table, and what to tell where it is not the usual one, or might not be.

    The header decides, and the rows where several marks part it; csv.Sniffer, which looks at texts too, takes their
    commas for marks.
    """
    fits = {mark: share for mark in MARKS if (share := _share_of_rows(text, mark))}
    if not fits or list(fits) == [usual]:
        return usual, ""
    best = max(fits, key=lambda mark: (fits[mark], mark == usual))
    others = [shown(mark) for mark in fits if mark != best]
    if best == usual and fits[best] > max(share for mark, share in fits.items() if mark != usual):
        return usual, ""
    also = f", though {' and '.join(others)} would part the header too" if others else ""
    return best, f"cells are read as parted by {shown(best)}{also}; data.delimiter says what parts them"


def _lines(text: str) -> Iterable[str]:
    return io.StringIO(text, newline="")


def shown(mark: str) -> str:
    """Return a mark for messages."""
    return _NAMES.get(mark, f"'{mark}'")


def _share_of_rows(text: str, mark: str) -> float:
    """Return the share of the first rows that have as many cells as the header, of several; 0 where it has one."""
    widths = []
    try:
        for cells in islice(_reader(_lines(text), mark), _LOOKED_AT):
            widths += [len(cells)] if cells else []
    except csv.Error:  # as in a text that is cut: what is before it says enough, if it is more than the header
        if len(widths) < 2:
            return 0
    if not widths or widths[0] < 2:
        return 0
    return sum(width == widths[0] for width in widths) / len(widths)


def _reader(lines: Iterable[str], mark: str) -> csv._reader:  # type: ignore[name-defined]
    csv.field_size_limit(_CELL_LENGTH)
    return csv.reader(lines, delimiter=mark, strict=True)


def table_rows(
    file: str, lines: Iterable[str], mark: str, refuse: Refuse, *, header_line: int
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows below the header of a table, each with the number of the line that it begins in.

    lines: with what ends them, from the first one of the file on. Raises DataError for a quote that is never closed,
    and where columns of one name have different cells.
    """
    read: list[str] = []
    reader = _reader(_noted(lines, read), mark)
    header: list[str] | None = None
    twice: list[tuple[int, int]] = []
    while True:
        number = reader.line_num + 1
        read.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise DataError(
                    f"{file}:{number}: a quote that opens in this line is never closed; write a quote inside a "
                    'cell as two ("") and put the cell in quotes, or use JSON Lines'
                ) from None
            refuse(number, f"the line is not CSV ({error})", read[0].removesuffix("\n"))
            continue
        if not cells or number < header_line:
            continue
        if header is None:
            header = [name.strip() for name in cells]
            twice = [(header.index(name), at) for at, name in enumerate(header) if name and header.index(name) < at]
        elif len(cells) != len(header):
            reason = f"the row has {len(cells)} cells, the header {len(header)}, parted by {shown(mark)}"
            refuse(number, reason, mark.join(cells))
        else:
            _refuse_others(file, header_line, number, header, cells, twice)
            yield number, {name: cell for name, cell in zip(header, cells, strict=True) if name}


def _noted(lines: Iterable[str], read: list[str]) -> Iterator[str]:
    for line in lines:
        read.append(line)
        yield line


def _refuse_others(
    file: str, header_line: int, number: int, header: list[str], cells: list[str], twice: list[tuple[int, int]]
) -> None:
    """Raise DataError where columns of one name, at the places `twice`, have different cells."""
    for first, second in twice:
        if cells[first] != cells[second]:
            raise DataError(
                f"{file}:{header_line}: the header names a column twice: {header[first]}, with different cells in line "
                f"{number}"
            )
