"""The bookkeeping of one call of the refinery: rows, bad ones, counts, and fields that no row has."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jenga.errors import DataError, printable, suggest
from jenga.refinery.chunks import Chunk, RowChunk, portions
from jenga.refinery.quarantine import BadRowLimit, QuarantineRecord
from jenga.refinery.result import COUNTS, Counters

if TYPE_CHECKING:
    from jenga.refinery.engine import Engine, RawChunk, RefinedChunk

MISMATCH_SHARE = 0.05
"""Share of a field's values of another type from which on a call warns of them."""
_LISTED = 8
"""Absent fields that a warning names."""
_LAID_OUT = "This seems to be JSON laid out over several lines: write one object a line, or an array of objects"
_ABSENT = COUNTS.index("absent")
_STATES_END = COUNTS.index("coerced")


class Call:
    """Counts what a call sees and stops it when too much of that is bad.

    `records`: the first `keep_records` bad rows (all for None). `records` and `counters` grow as the call goes on.
    """

    def __init__(self, paths: tuple[str, ...], max_bad_fraction: float, keep_records: int | None) -> None:
        self._limit = BadRowLimit(max_bad_fraction)
        self._keep = keep_records
        self._first_names: list[str] | None = None
        self._wraps = ""
        self._document: str | None = None
        self.records: list[QuarantineRecord] = []
        self.counters = Counters.zero(paths)

    @property
    def n_bad(self) -> int:
        """Bad rows so far, those without a record too."""
        return self._limit.n_bad

    def watched(self, engine: Engine, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Yield `chunks`, in portions that `engine` makes features of at once; remember what the first row holds."""
        for at, chunk in enumerate(chunks):
            if at == 0:
                self._look_at_source(chunk)
            if self._first_names is None:
                self._look_at_row(chunk)
            yield from portions(chunk, engine.rows_at_once)

    def _look_at_source(self, chunk: Chunk) -> None:
        """Remember whether the rows are those of a file or the like, and whether one object is laid out over lines."""
        if chunk.file or (isinstance(chunk, RowChunk) and chunk.byte_offset is not None):
            self._document = chunk.file
        if isinstance(chunk, RowChunk) and chunk.byte_offset is not None and is_laid_out(chunk):
            self._limit.hint = _LAID_OUT

    def _look_at_row(self, chunk: Chunk) -> None:
        from jenga.refinery.engine import first_rows

        rows, _ = first_rows([chunk], 1)
        if rows:
            self._first_names = list(_paths_in(rows[0]))
            self._wraps = next((key for key, value in rows[0].items() if _holds_rows(value)), "")

    def count(self, part: RefinedChunk | RawChunk) -> None:
        """Count what became of a chunk. Raises DataError where too many rows are bad by now."""
        self.counters.counts[:] += part.counters.counts
        room = None if self._keep is None else self._keep - len(self.records)
        self.records += part.quarantine[:room]
        self._limit.add(len(part.numbers) - getattr(part, "n_filled", 0), part.quarantine)

    def add(self, n_kept: int, records: list[QuarantineRecord], n_bad: int, counters: Counters) -> None:
        """Count what a call on other rows counted: rows kept, the first bad ones, how many there were. As `count`."""
        self.counters.counts[:] += counters.counts
        room = None if self._keep is None else self._keep - len(self.records)
        self.records += records[:room]
        self._limit.add(n_kept, records, n_more=n_bad - len(records))

    def parts(self, engine: Engine, chunks: Iterable[Chunk]) -> Iterator[RawChunk]:
        """Yield the raw values of `chunks`, counted."""
        for chunk in self.watched(engine, chunks):
            raw = engine.raw(chunk)
            self.count(raw)
            yield raw

    def end(self, *, fitted: bool = False, warn: bool = True) -> None:
        """Raise DataError where too many rows were bad, or a file has no field at all; warn of fields that no row had.

        `fitted`: raise as well where no row is usable. Rows given one by one may lack all fields: who gives few of them
        may know what they lack.
        """
        self._limit.judge()
        if fitted and not self._limit.n_rows - self._limit.n_bad:
            self._limit.refuse_all()
        if warn:
            self._tell_of_absent_fields()
            for path, count in self.counters.to_dict().items():
                if words := mismatch_words(count):
                    warnings.warn(f"'{printable(path)}': {words}", stacklevel=level_of_caller())

    def _tell_of_absent_fields(self) -> None:
        counts = self.counters.counts
        n_rows = int(counts[0, :_STATES_END].sum())
        absent = [path for path, count in zip(self.counters.paths, counts[:, _ABSENT], strict=True) if count == n_rows]
        if not n_rows or not absent:
            return
        if len(absent) == len(self.counters.paths) and self._document is not None:
            raise DataError(self._words_of_no_field(absent, n_rows))
        listed = _listed(absent, self._first_names or [])
        rows = "the only row does not have" if n_rows == 1 else f"none of {n_rows:,} rows has"
        warnings.warn(f"{rows} {_fields(len(absent))} {listed}", stacklevel=level_of_caller())

    def _words_of_no_field(self, absent: list[str], n_rows: int) -> str:
        names = self._first_names or []
        rows = "the only row has" if n_rows == 1 else f"all {n_rows:,} rows have"
        place = f"{self._document}: " if self._document else ""
        lines = [f"{place}{rows} none of the fields: {_listed(absent, names)}"]
        if self._wraps and n_rows == 1:
            where = f"in '{printable(self._wraps)}' of one object"
            lines.append(f"The rows seem to be {where}: write the rows as an array or one a line")
        else:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            found = printable(", ".join(names[:_LISTED])) or "nothing"
            lines.append(f"Found: {found}{more}. Rename them, or choose another schema")
        return "\n".join(lines)


def mismatch_words(count: Mapping[str, int]) -> str:
    """Return how many of a field's values are of another type, from `MISMATCH_SHARE` on; "" for fewer."""
    given = sum(count[state] for state in ("present", "mismatch", "overflow", "unknown"))
    if count["mismatch"] <= MISMATCH_SHARE * given:
        return ""
    return f"{count['mismatch']:,} of {given:,} values are of another type and count as missing"


def is_laid_out(chunk: RowChunk) -> bool:
    """Whether the first two lines look like the begin of one JSON object that goes on over more of them."""
    if len(chunk.row_offsets) < 2:
        return False
    first, second = (chunk.row(at).strip() for at in range(2))
    return first[:1] == b"{" and first[-1:] in (b"{", b",") and second[:1] in (b'"', b"}")


def _holds_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def level_of_caller() -> int:
    """Return the stack level, seen from who asks, of the code that called the refinery."""
    frame = inspect.currentframe()
    level = 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("jenga", "sklearn"):
        frame, level = frame.f_back, level + 1
    return level


def _listed(paths: list[str], names: list[str]) -> str:
    """Return the first of `paths`, those with a near one among `names` before others."""
    near = {path: suggest(path, names).removeprefix("; ") for path in paths}
    first = sorted(paths, key=lambda path: not near[path])[:_LISTED]
    words = [printable(f"'{path}' ({near[path]})" if near[path] else f"'{path}'") for path in first]
    return ", ".join([*words, *([f"and {len(paths) - _LISTED} more"] if len(paths) > _LISTED else [])])


def _fields(count: int) -> str:
    return "the field" if count == 1 else f"the {count} fields"


def _paths_in(row: dict[str, Any], before: str = "") -> Iterator[str]:
    for key, value in row.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from _paths_in(value, f"{before}{key}.")
