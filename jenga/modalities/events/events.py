"""Events as rows: the cells that heads read, and the features that the refinery makes of all the rest."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jenga.errors import DataError, printable, suggest
from jenga.labels.cells import json_text
from jenga.modalities.events.features import RefinedFile
from jenga.packed import UnpackLimit
from jenga.refinery.calls import mismatch_words
from jenga.refinery.engine import Pace
from jenga.refinery.packed import PackedRows
from jenga.refinery.result import STATES
from jenga.refinery.statistics import ABSENT
from jenga.rows.columns import column_names, no_column
from jenga.rows.parse import SourceSpec
from jenga.rows.raw import RAW_LENGTH, STANDARD_INPUT, BadRow, RawRows
from jenga.rows.readers import FileForm, read_rows
from jenga.rows.storage import is_folder, is_pattern, is_remote, suffixes

if TYPE_CHECKING:
    from jenga.refinery import SecurityRefinery
    from jenga.refinery.quarantine import QuarantineRecord

_JSON_FILES = tuple(
    f"{kind}{packed}" for kind in (".json", ".jsonl", ".ndjson", ".log", ".labeled") for packed in ("", ".gz", ".zst")
)
_EXAMPLES = 1000
USUAL = 0.99
"""Share of the training rows that have a field without which an event is suspect."""
_LISTED = 5
_CHUNK_BYTES = 8 << 20


@dataclass
class Events(RawRows):
    """The events of one file or call. `rows` hold only the cells of labels and ids, by dotted name.

    `events`: what the refinery reads, JSON as bytes or text, or mappings; `events[i]` belongs to `rows[i]`.
    `histories`: float64 ``(N, H)``, what the refinery's H histories told of each when features were made; None before,
    or without.
    """

    events: Sequence[Any] = field(default_factory=list)
    histories: np.ndarray | None = None

    @property
    def examples(self) -> list[dict[str, Any]]:
        """The first events with all their columns, for messages."""
        return objects(list(self.events[:_EXAMPLES]))

    @property
    def content(self) -> Sequence[Any]:
        """The events with all their fields."""
        return self.events

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the events of `parts` one after the other."""
        return replace(super().joined(parts), events=[event for part in parts for event in part.events], histories=None)

    def piece(self, at: slice, bad: list[BadRow]) -> Self:
        """Return the events at `at`, with `bad` for those that cannot be read among them."""
        histories = None if self.histories is None else self.histories[at]
        return replace(super().piece(at, bad), events=self.events[at], histories=histories)


def objects(events: Iterable[Any]) -> list[dict[str, Any]]:
    """Return events as mappings; one that is broken where no field reads it (validate: fast) is passed over."""
    found = []
    for event in events:
        try:
            found.append(event if isinstance(event, dict) else json.loads(event))
        except ValueError:
            continue
    return found


def label_columns(specs: Iterable[SourceSpec]) -> tuple[str, ...]:
    """Return every column where `specs` look for labels, ids and stages, none of which may become a feature."""
    found: dict[str, None] = {}
    for spec in specs:
        found.update(dict.fromkeys(column for head in spec.heads for column in head.candidates))
        found[spec.id] = None
        found.update(dict.fromkeys(spec.marks))
    return tuple(found)


def read_events(
    path: str | bytes,
    *,
    columns: Sequence[str],
    refinery: SecurityRefinery,
    split: str = "train",
    form: FileForm | None = None,
) -> Events:
    """Read every event of `path`, which `read_rows` reads, or of bytes of JSON.

    columns: dotted names of the cells to read. form: how files are written. Raises DataError for a file that is
    missing, empty or unreadable.
    """
    if isinstance(path, str) and not _is_json_file(path, form):
        raw = read_rows(path, split=split, form=form)
        try:
            found = events_of(raw.file, raw.rows, raw.numbers, raw.bad, columns=columns, refinery=refinery)
        except TypeError as error:
            raise _of_its_cell(error, raw) from error
        found.told = raw.told
        if raw.table:
            # A blank cell may be a label (none of several), but never a feature.
            found.events = [{name: cell or None for name, cell in event.items()} for event in found.events]
        return found
    file = path if isinstance(path, str) else STANDARD_INPUT
    is_whole = isinstance(path, str) and suffixes(path)[0] == ".json"
    rows, numbers, bad = _json_rows(path, file, form.records if form is not None and is_whole else None)
    if not rows and not bad:
        raise DataError(f"{file}: there are no rows")
    return events_of(file, rows, numbers, bad, columns=columns, refinery=refinery)


def _of_its_cell(error: TypeError, raw: RawRows) -> Exception:
    """Return what is wrong with the first cell of a table that no JSON can hold; `error` where there is none."""
    from jenga.kernels.refinery import pack_rows

    for number, row in zip(raw.numbers, raw.rows, strict=True):
        for name, cell in row.items():
            try:
                pack_rows([{name: cell}])
            except TypeError as found:
                fix = "write it as text or numbers, or leave the column out of the file"
                holds = str(found).partition(": ")[2].partition(";")[0]
                return DataError(f"{raw.file}:{number}: column '{name}' {holds}, which is no cell of events; {fix}")
    return error


def _is_json_file(path: str, form: FileForm | None) -> bool:
    """Whether the refinery reads `path` itself: a file of JSON, or a log, on this machine, whatever is there."""
    told = form is not None and form.format is not None
    elsewhere = is_remote(path) or is_pattern(path) or is_folder(path)
    return not told and not elsewhere and path.lower().endswith(_JSON_FILES)


def events_of(
    file: str,
    events: Sequence[Any],
    numbers: Sequence[int],
    bad: Sequence[BadRow],
    *,
    columns: Sequence[str],
    refinery: SecurityRefinery,
) -> Events:
    """Return rows of JSON or mappings as events, with those that are no JSON among the bad ones.

    numbers: the line, element or position of each, from 1.
    """
    cells: list[dict[str, Any]] = [{} for _ in range(len(events))]
    kept = np.ones(len(events), bool)
    refused: dict[int, BadRow] = {}
    # Each group of columns reads all rows, and sees only its own keys: a row is kept where no group refuses it.
    for group in _apart(columns):
        values, positions, records = _values(events, group, refinery)
        good = np.zeros(len(events), bool)
        good[positions] = True
        kept &= good
        for row in bad_rows(records, file, numbers):
            refused.setdefault(row.number, row)
        for column, cell_values in values.items():
            for at, value in zip(positions.tolist(), cell_values, strict=True):
                if value is not None:
                    cells[at][column] = value
    found = Events(file, bad=[*bad, *(refused[number] for number in sorted(refused))])
    if kept.all():
        found.rows, found.numbers, found.events = cells, list(numbers), events
        return found
    index = np.flatnonzero(kept)
    found.rows = [cells[at] for at in index.tolist()]
    found.numbers = [numbers[at] for at in index.tolist()]
    found.events = taken(events, index)
    return found


def taken(events: Sequence[Any], index: np.ndarray) -> Sequence[Any]:
    """Return the events at `index`, which ascends."""
    return events.take(index) if isinstance(events, PackedRows) else [events[at] for at in index.tolist()]


def _values(
    events: Sequence[Any], paths: Sequence[str], refinery: SecurityRefinery
) -> tuple[dict[str, list[Any]], np.ndarray, list[QuarantineRecord]]:
    """Return the Python values at `paths`, the positions (M,) of the events that are JSON, and records of the rest."""
    from jenga.refinery.engine import Engine
    from jenga.refinery.plan import extraction_plan
    from jenga.refinery.result import RawColumns
    from jenga.refinery.sources import chunks_of

    plan = extraction_plan(paths, validate=refinery.validate, nan=refinery.nan, duplicates=refinery.duplicates)
    engine = Engine(plan, n_threads=refinery.n_threads, redact=False)
    values: dict[str, list[Any]] = {path: [] for path in paths}
    positions: list[np.ndarray] = [np.empty(0, np.int64)]
    records: list[QuarantineRecord] = []
    for chunk in chunks_of(events, chunk_bytes=_CHUNK_BYTES):
        raw = engine.raw(chunk)
        columns = RawColumns(engine.paths, engine.kinds, raw.block, raw.counters, raw.numbers)
        for path in paths:
            cells = columns.values(path)
            values[path] += [json.loads(cell.decode()) if isinstance(cell, bytes) else None for cell in cells]
        positions.append(raw.numbers - 1)
        records += raw.quarantine
    return values, np.concatenate(positions), records


def bad_rows(records: Iterable[QuarantineRecord], file: str, numbers: Sequence[int]) -> list[BadRow]:
    """Return what the refinery set aside of rows given one by one; `numbers` as in `events_of`."""
    found = []
    for record in records:
        raw = (record.raw or b"").decode("utf-8", "backslashreplace")[:RAW_LENGTH]
        inside = f" at {printable(record.pointer)}" if record.pointer else ""
        reason = f"{record.code.replace('_', ' ')}{inside} (byte {record.byte_offset} of the row)"
        found.append(BadRow(file, numbers[record.number - 1], reason, raw))
    return found


def refine_events(
    events: Events,
    refinery: SecurityRefinery,
    *,
    pace: Pace | None = None,
    whole: bool = True,
    max_missing: float = 1.0,
) -> RefinedFile:
    """Return the features of all events of a file, in its order: what came before an event decides some of them.

    pace: what is known of the events before these; None: nothing is. whole: whether these are all that there are, and
    no batch of a stream, which is not refused as a whole. max_missing: as `RefineryConfig` has it.

    Raises DataError where the events have none of the fields that the refinery reads.
    """
    own = Pace() if pace is None else pace
    with unwarned():
        refined = refinery.refine(events.events, pace=own)
    numbers = np.asarray(events.numbers, np.int64)
    bad = bad_rows(refined.quarantine, events.file, events.numbers)
    if refined.histories is not None:
        # Drivers tell of them, and no event has them.
        events.histories = np.full((len(numbers), refined.histories.shape[1]), np.nan)
        events.histories[refined.numbers - 1] = refined.histories
    reasons = _lacking(refined.states, refinery, max_missing)
    if whole and len(refined.states) and (refined.states == ABSENT).all():
        paths = [field.path for field in refinery.schema_.fields]
        raise DataError(no_column(f"{events.file}: the model's fields", paths[:5], events.examples, fix="Rename them"))
    places = refined.numbers - 1
    for at, reason in reasons.items():
        event = events.events[places[at]]
        raw = event.decode("utf-8", "backslashreplace") if isinstance(event, bytes) else json_text(event)
        bad.append(BadRow(events.file, int(numbers[places[at]]), reason, raw[:RAW_LENGTH]))
    states, features = refined.states, np.asarray(refined.features)
    if reasons:
        kept = np.ones(len(places), bool)
        kept[list(reasons)] = False
        states, features, places = states[kept], features[kept], places[kept]
    told = [*_misfits(states, refinery, events), *own.warnings(refinery.schema_).values()]
    return RefinedFile(numbers[places], features, bad, told)


def _lacking(states: np.ndarray, refinery: SecurityRefinery, max_missing: float) -> dict[int, str]:
    """Return why rows of these states ``(M, n_fields)`` lack too many fields to be judged, by their place."""
    known = refinery.statistics_.fields
    usual = np.array([each.field.kind != "history" and each.states[ABSENT] <= (1 - USUAL) * each.n for each in known])
    absent = states == ABSENT
    if not absent.any():
        return {}
    gone = absent[:, usual].sum(1)
    over = absent.all(1) | (gone > max_missing * usual.sum())
    found = {}
    for at in np.flatnonzero(over).tolist():
        if absent[at].all():
            found[at] = "the event has none of the fields that the model reads"
            continue
        first = ", ".join(known[field].field.path for field in np.flatnonzero(absent[at] & usual)[:_LISTED])
        found[at] = (
            f"the event lacks {gone[at]} of {usual.sum()} fields that the training rows have ({first}, ...); is it of "
            f"another kind? model.refinery.max_missing allows a share of {max_missing:g}"
        )
    return found


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """Keep the refinery from warning of fields that no row has; we do that, with more names to suggest at hand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _misfits(states: np.ndarray, refinery: SecurityRefinery, events: Events) -> list[str]:
    """Return a warning for each field that no event has, or of whose values many are of another type or all unknown.

    states: ``(M, n_fields)``, of the events that are kept.
    """
    n_rows = len(states)
    if not n_rows:
        return []
    paths = [field.path for field in refinery.schema_.fields]
    of_state = [np.count_nonzero(states == number, axis=0).tolist() for number in range(len(STATES))]
    counts = {path: dict(zip(STATES, each, strict=True)) for path, *each in zip(paths, *of_state, strict=True)}
    made = {field.path for field in refinery.schema_.fields if field.kind == "history"}
    gone = [path for path, count in counts.items() if count["absent"] == n_rows and path not in made]
    found = column_names(events.examples)
    near = {path: suggest(path, set(found) - counts.keys()).removeprefix("; ") for path in gone}
    names = [printable(f"'{path}' ({words})" if words else f"'{path}'") for path, words in near.items()]
    told = [f"no event has {', '.join(names)}, which the refinery reads; missing values stand in"] if gone else []
    for path, count in counts.items():
        given = n_rows - count["absent"] - count["null"]
        if words := mismatch_words(count):
            told.append(f"'{printable(path)}': {words}")
        if given > 1 and count["unknown"] == given:
            told.append(f"'{printable(path)}': no value occurs in the training rows; all count as unknown")
    return told


def _json_rows(source: str | bytes, file: str, records: str | None) -> tuple[PackedRows, list[int], list[BadRow]]:
    from jenga.refinery.sources import RowChunk, chunks_of

    numbers: list[int] = []
    bad: list[BadRow] = []
    n_bytes = len(source) if isinstance(source, bytes) else _size(source)
    limit = UnpackLimit(file, n_bytes)

    def chunks() -> Iterator[RowChunk]:
        for chunk in chunks_of(source, chunk_bytes=_CHUNK_BYTES, records=records, n_threads=None):
            assert isinstance(chunk, RowChunk)
            limit.add(int(np.diff(chunk.row_offsets).sum()))
            numbers.extend(chunk.numbers.tolist())
            for each in chunk.refused:
                raw = each.head.decode("utf-8", "backslashreplace")[:RAW_LENGTH]
                bad.append(BadRow(file, each.number, each.code.replace("_", " "), raw))
            yield chunk

    return PackedRows.of(chunks(), n_bytes=n_bytes), numbers, bad


def _size(path: str) -> int:
    """Return the bytes of a file; 0 where there is none, which whoever reads it tells."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _apart(columns: Sequence[str]) -> list[list[str]]:
    """Part columns into groups, none of which holds a column and another inside it, which one reading cannot give."""
    groups: list[list[str]] = []
    for column in columns:
        for group in groups:
            if not any(_inside(column, other) or _inside(other, column) for other in group):
                group.append(column)
                break
        else:
            groups.append([column])
    return groups


def _inside(column: str, other: str) -> bool:
    return column.startswith(f"{other}.")
