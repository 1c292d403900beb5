"""Files of text that are no tables: JSON, JSON Lines, logs of Zeek, and plain text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from jenga.errors import DataError
from jenga.refinery.zeek import LogLineError, LogReader, is_log
from jenga.rows.raw import RawRows, Refuse

_HEAD = 1000


def read_lines(raw: RawRows, text: str) -> None:
    """Add the object in each line of JSON Lines."""
    # Not str.splitlines: U+2028 and the like may stand inside a JSON string.
    for number, row in json_lines(text.split("\n"), raw.refuse):
        raw.add(number, row)
    if not raw.rows and text.lstrip().startswith("["):
        raise DataError(f"{raw.file}: the file is one JSON list, not one object a line; name it .json")


def json_lines(lines: Iterable[str], refuse: Refuse) -> Iterator[tuple[int, Any]]:
    """Yield the value in each line that is not blank, with the number of the line."""
    scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # typeshed lacks it
    for number, line in enumerate(lines, start=1):
        try:
            # Half of what json.loads takes, which is asked about what is no one value from the line's beginning on.
            row, end = scan(line, 0)
            if end != len(line) and line[end:] != "\r":
                row = json.loads(line)
        except (StopIteration, ValueError, RecursionError):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                refuse(number, f"the line is not JSON ({_words_of(error)})", line.strip())
                continue
        yield number, row


def is_zeek(text: str) -> bool:
    """Whether a file is a log in Zeek's own form."""
    return is_log(text[:_HEAD].encode())


def read_log(raw: RawRows, text: str) -> None:
    """Add the row in each line of a log: of Zeek's own form, or of JSON. Raises DataError where it is neither."""
    if not is_zeek(text):
        if text.lstrip()[:1] != "{":
            raise DataError(
                f"{raw.file}: the log is neither Zeek's, which begins with #separator, nor JSON Lines; data.format "
                "says how a file is written"
            )
        read_lines(raw, text)
        return
    reader = LogReader()
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            row = reader.row(line.encode())
        except LogLineError as error:
            raw.refuse(number, f"the line does not fit its log ({error})", line)
            continue
        if row is not None:
            raw.add(number, row)


def read_text(raw: RawRows, text: str) -> None:
    """Add each line that is not blank as a row with the column ``text``, as the `text` loader of datasets does."""
    for number, row in text_lines(text.split("\n")):
        raw.add(number, row)


def text_lines(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each line that is not blank as a row, with its number."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, {"text": line.removesuffix("\r")}


def read_json(raw: RawRows, text: str) -> None:
    """Add the objects of the list that the file is or holds, or of its lines."""
    allowed = "Allowed: a list of objects, an object with one list of objects, or one object a line"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            read_lines(raw, text)
            return
        raise DataError(
            f"{raw.file}:{error.lineno}:{error.colno}: the file is not JSON ({error.msg}), or is cut short. {allowed}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{raw.file}: the file is not usable JSON ({_words_of(error)}). {allowed}") from None
    rows = _rows_in(value)
    if rows is None:
        what = f"an object with the keys {', '.join(list(value)[:10])}" if isinstance(value, dict) else "one value"
        raise DataError(f"{raw.file}: the file holds {what}, not rows. {allowed}")
    raw.add_all(rows)


def _rows_in(value: Any) -> list[Any] | None:
    if isinstance(value, list):
        return value
    lists = [each for each in value.values() if isinstance(each, list)] if isinstance(value, dict) else []
    if len(lists) == 1 and (not lists[0] or any(isinstance(row, dict) for row in lists[0])):
        return lists[0]
    return None


def _words_of(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)
