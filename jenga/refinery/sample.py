"""Sample rows as columns by dotted path, for inference."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.refinery.fields import PATH_LIMIT
from jenga.refinery.paths import is_set, path_of_key
from jenga.refinery.schema import MISSING_WORDS

DEPTH_LIMIT = 64
"""Objects inside each other that are entered, as in the refinery's parser."""

_EACH = "[*]"
_MOST_LISTS = 2
"""Lists inside each other that are entered."""
_ELEMENTS = 64
"""Elements of a list that are looked at."""
_PATH = re.compile(r"[^\x00-\x1f\ud800-\udfff]+")
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?(?:Z|([+-])(\d\d):?(\d\d))?)?", re.ASCII
)
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass
class Column:
    """The values of one path that are not null, of a path with [*] those of all elements.

    It is filled first, and asked afterwards.

    `n_rows`: rows of the sample; `n_given`: those with a value.
    """

    path: str
    n_rows: int = 0
    n_given: int = 0
    values: list[Any] = field(default_factory=list)

    @cached_property
    def is_set(self) -> bool:
        """Whether a row may have several values."""
        return is_set(self.path)

    @cached_property
    def name(self) -> str:
        """The path without what says that it leads into lists."""
        return self.path.replace(_EACH, "")

    @cached_property
    def distinct(self) -> list[tuple[Any, int]]:
        """Each different value and how often it stands there; 1, '1' and true differ."""
        counts: dict[tuple[type, Any], int] = {}
        for value in self.values:
            key = (type(value), value)
            counts[key] = counts.get(key, 0) + 1
        return [(value, count) for (_, value), count in counts.items()]

    @cached_property
    def given(self) -> Column:
        """The column without words that stand for nothing; itself where it holds no other values."""
        values = [value for value in self.values if not (isinstance(value, str) and value.strip() in MISSING_WORDS)]
        whole = len(values) in (0, len(self.values))
        return self if whole else Column(self.path, self.n_rows, self.n_given, values)

    @property
    def n_distinct(self) -> int:
        """How many values differ."""
        return len(self.distinct)

    @property
    def n_missing(self) -> int:
        """Rows without a value."""
        return self.n_rows - self.n_given

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """The values that are finite numbers or texts of such, as float64."""
        found = [(number_of(value), count) for value, count in self.distinct]
        kept = [(number, count) for number, count in found if number is not None]
        return np.repeat(np.array([each for each, _ in kept], np.float64), [count for _, count in kept])

    @property
    def has_fractions(self) -> bool:
        """Whether a number is not whole."""
        return bool((self.numbers != np.floor(self.numbers)).any())


def read_columns(rows: Iterable[Mapping[str, Any]]) -> tuple[list[Column], dict[str, str]]:
    """Return the columns of `rows` in order of first appearance, and paths that cannot be columns with the reason."""
    columns: dict[str, Column] = {}
    n_rows = 0
    for row in rows:
        n_rows += 1
        given = set()
        for path, value in _flat(row, "", 1):
            column = columns.setdefault(path, Column(path))
            if value is not None:
                column.values.append(value)
                given.add(path)
        for path in given:
            columns[path].n_given += 1
    _fold(columns)
    for column in columns.values():
        column.n_rows = n_rows
    left_out = _clashing(columns)
    return [each for path, each in columns.items() if path not in left_out], left_out


def _fold(columns: dict[str, Column]) -> None:
    """Take what is a list in some rows and a single value, or object, in others for lists of one element."""
    for path, column in list(columns.items()):
        if not column.is_set:
            continue
        if (single := columns.pop(column.name, None)) is not None:
            column.values += single.values
            column.n_given += single.n_given
        if not column.values and any(other.startswith(f"{path}.") for other in columns):
            del columns[path]


def is_moment(value: Any) -> bool:
    """Whether the refinery reads `value` as a date, with or without a time of the day, in a form of ISO 8601."""
    found = _MOMENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return False
    *parts, sign, zone_hour, zone_minute = found.groups()
    zone = datetime.timedelta(hours=int(zone_hour or 0), minutes=int(zone_minute or 0))
    if zone >= datetime.timedelta(days=1) or int(zone_minute or 0) > 59:
        return False
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in parts)
        moment = datetime.datetime(year, month, day, hour, minute, second)
        return bool(moment + zone if sign == "-" else moment - zone)
    except (ValueError, OverflowError):
        return False


def number_of(value: Any) -> float | None:
    """Return a finite number, true and false as 1 and 0, or a text of a number, as float; None for all else."""
    if isinstance(value, str):
        text = value.strip(" \t\r\n")
        value = float(text) if _NUMBER.fullmatch(text) else None
    if not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _flat(row: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if key and len(key) <= PATH_LIMIT:
            yield from _values(f"{prefix}{path_of_key(key)}", value, depth)


def _values(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if len(path) > PATH_LIMIT or not _PATH.fullmatch(path):
        return
    if isinstance(value, Mapping):
        if depth < DEPTH_LIMIT:
            yield from _flat(value, f"{path}.", depth + 1)
        return
    plain = _plain(value)
    if not isinstance(plain, list):
        yield path, plain
    elif depth < DEPTH_LIMIT and path.count(_EACH) < _MOST_LISTS:
        yield f"{path}{_EACH}", None
        for element in plain[:_ELEMENTS]:
            yield from _values(f"{path}{_EACH}", element, depth + 1)


def _plain(value: Any) -> Any:
    """Return `value` as JSON would hold it, what JSON has no form for as text; NaN, infinities and "" become None."""
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (np.ndarray, tuple, set)):
        return list(value)
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, (str, int, float, list)) else str(value)


def _clashing(columns: Mapping[str, Column]) -> dict[str, str]:
    """Return paths that are a value in some rows and an object in others, of each pair the one with fewer rows."""
    left_out: dict[str, str] = {}
    for path in columns:
        parts = path.split(".")
        for outer in (".".join(parts[:count]) for count in range(1, len(parts))):
            if outer in columns and not {outer, path} & left_out.keys():
                fewer = len(columns[path].values) < len(columns[outer].values)
                rarer, other = (path, outer) if fewer else (outer, path)
                left_out[rarer] = f"cannot be read beside '{other}': one lies inside the other"
    return left_out
