"""The sources of rows of a run, loaded: read, checked against the configuration, parsed and split."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jenga.errors import DataError
from jenga.labels import kind_named
from jenga.labels.cells import Repeated, Tally, is_missing
from jenga.labels.column import HeadColumn
from jenga.labels.forms import Settled, settle
from jenga.labels.spaces import infer_normal_space, infer_space
from jenga.labels.unseen import unseen_warnings
from jenga.rows.columns import absent_columns, find_column, label_place, no_column
from jenga.rows.exclude import Excluded
from jenga.rows.kept import Keeping, NotKeptError, RowSink, keeping
from jenga.rows.large import LargeRows
from jenga.rows.loaded import LoadedSource, stop_if_many_bad
from jenga.rows.parse import Key, Parser, Rows, SourceSpec, note_warnings
from jenga.rows.partition import Share, Stake, check_roles, partition
from jenga.rows.raw import BadRow, RawRows
from jenga.rows.read_once import ReadOnce
from jenga.rows.readers import read_rows
from jenga.rows.split import TRAIN, cut
from jenga.rows.told import duplicate_ids, label_warnings, leaks, unlabelled
from jenga.types import IGNORE_INDEX, HeadSpace

if TYPE_CHECKING:
    from jenga.config.schema import DataConfig

logger = logging.getLogger(__name__)
_VALID, _TEST = "valid", "test"
_ENOUGH_BAD = 100_000
_ROWS_AT_ONCE = 512
"""Few: the more objects are alive, the more often the garbage collector goes through all of them."""


@dataclass
class _Parsed:
    """A source read and parsed, but not split: `raw` and `given` by the split that the configuration gives.

    `told`: what to tell of how labels are read.
    """

    spec: SourceSpec
    raw: dict[str, list[RawRows]]
    spaces: dict[Key, HeadSpace]
    given: dict[str, Rows]
    bad: list[BadRow]
    notes: Counter[tuple[str, str]]
    unseen: Counter[tuple[str, str, str]]
    told: list[str]


def load_sources(
    specs: Sequence[SourceSpec], *, data: DataConfig, files: Sequence[ReadOnce[Any]] | None = None
) -> list[LoadedSource]:
    """Read, check and split the rows of all sources of a run.

    files: what reads the files of each of `specs`, and keeps them; default: `read_rows`. Label spaces come from the
    configuration, else from all rows of the train files; those of a head that learns what is normal, which has no logit
    a label, from all files.

    Rows are split once a file: a row that judges a task trains none. Raises DataError when a file cannot be read or has
    more bad rows than `data.max_bad_fraction`, when a column is missing, when the rows hold more labels than
    `num_labels`, when a head has no label in the training rows, and when rows are given to train one source and to
    judge another.
    """
    try:
        with keeping(specs, data) as kept:
            if isinstance(kept, list):
                return kept
            loaded = _load(specs, data, files, kept)
            if kept is not None:
                kept.finish(loaded)
            return loaded
    except NotKeptError as error:
        logger.warning("%s. The rows are held in memory; data.cache_dir names another place for them", error)
        return _load(specs, data, files, None)


def _load(
    specs: Sequence[SourceSpec], data: DataConfig, files: Sequence[ReadOnce[Any]] | None, kept: Keeping | None
) -> list[LoadedSource]:
    if files is None:
        read = ReadOnce(partial(read_rows, form=specs[0].form if specs else None), by_place=by_place(specs))
        files = [read] * len(specs)
    given = [
        {split: [(path, read(path, split=split)) for path in names] for split, names in _paths(spec).items() if names}
        for spec, read in zip(specs, files, strict=True)
    ]
    told = check_roles([spec.name for spec in specs], given)
    parsed = []
    for number, (spec, splits) in enumerate(zip(specs, given, strict=True)):
        raw = {split: [each for _, each in pairs] for split, pairs in splits.items()}
        sinks = {split: RowSink(None, "") if kept is None else kept.sink(number, split) for split in raw}
        parsed.append(_parsed(spec, raw, sinks, data.max_bad_fraction))
    fractions = {_VALID: data.valid_fraction, _TEST: data.test_fraction}
    shares = partition([_stake(each) for each in parsed], fractions, seed=data.split_seed)
    digests = [_digests(each, read) for each, read in zip(parsed, files, strict=True)]
    excluded = Excluded(data.exclude, {file: digest for each in digests for file, digest in each.items()})
    loaded = [
        _loaded(each, share, data, excluded, [*warnings, *share.warnings], own)
        for each, share, warnings, own in zip(parsed, shares, told, digests, strict=True)
    ]
    for each in loaded[:1]:
        each.warnings[:0] = excluded.told()
    return loaded


def by_place(specs: Sequence[SourceSpec]) -> bool:
    """Return whether equal rows in different folders may hold different content."""
    return any(spec.content.by_place for spec in specs)


def _digests(parsed: _Parsed, files: ReadOnce[Any]) -> dict[str, str]:
    return {each.file: files.digest(each).hex() for several in parsed.raw.values() for each in several}


def _paths(spec: SourceSpec) -> dict[str, tuple[str, ...]]:
    return {TRAIN: spec.train, _VALID: spec.valid, _TEST: spec.test}


def _parsed(
    spec: SourceSpec, raw: dict[str, list[RawRows]], sinks: Mapping[str, RowSink], max_bad_fraction: float
) -> _Parsed:
    for each in raw[TRAIN]:
        stop_if_many_bad(each, each.bad, max_bad_fraction)
    spec, spaces, told = _spaces(spec, raw, max_bad_fraction)
    found = _Parsed(spec, raw, spaces, {}, [], Counter(), Counter(), told)
    for split, files in raw.items():
        for each in files:
            parser = Parser(each, spec, spaces)
            unusable = _into(sinks[split], parser, max_bad_fraction)
            stop_if_many_bad(each, unusable, max_bad_fraction, told=told)
            found.notes += parser.notes
            found.unseen += parser.unseen
            found.told += [words for words in each.told if words not in found.told]
            found.told += [f"{each.file}: {words}" for words in parser.blank_warnings()]
            found.bad += unusable
        found.given[split] = sinks[split].finish()
    return found


def _into(sink: RowSink, parser: Parser, max_bad_fraction: float) -> list[BadRow]:
    """Put the rows that `parser` makes of its file into `sink`, and return all bad ones, in order; or too many."""
    bad = list(parser.raw.bad)
    total = len(parser.raw.rows) + len(bad)
    for piece in parser.raw.pieces(_ROWS_AT_ONCE):
        rows, unusable = parser.run(piece)
        sink.add(rows)
        bad += unusable
        if len(bad) > max_bad_fraction * total and len(bad) >= _ENOUGH_BAD:
            break  # the caller stops the run: so many are enough to say why
    return sorted(bad, key=lambda row: row.number)


def _loaded(
    parsed: _Parsed, share: Share, data: DataConfig, excluded: Excluded, told: Sequence[str], digests: dict[str, str]
) -> LoadedSource:
    spec, raw, spaces = parsed.spec, parsed.raw, parsed.spaces
    splits = _split(spec, parsed.given, share, data, excluded)
    # What is read later is read as what was learnt.
    spec = replace(spec, content=spec.content.settled(raw[TRAIN][0]))
    warnings = [
        *parsed.told,
        *note_warnings(parsed.notes),
        *unseen_warnings(parsed.unseen),
        *told,
        *duplicate_ids(spec, raw),
        *unlabelled(spec, raw),
        *label_warnings(spec, splits, spaces),
        *leaks(spec, splits),
    ]
    sizes = {each.file: len(each.rows) + len(each.bad) for files in raw.values() for each in files}
    return LoadedSource(spec, splits, spaces, parsed.bad, warnings, digests, sizes)


def _spaces(
    spec: SourceSpec, raw: Mapping[str, Sequence[RawRows]], max_bad_fraction: float
) -> tuple[SourceSpec, dict[Key, HeadSpace], list[str]]:
    """Return the label spaces, `spec` with what the rows settle of its heads, and what to tell of that."""
    spaces: dict[Key, HeadSpace] = {}
    heads: list[HeadColumn] = []
    problems: list[str] = []
    told: list[str] = []
    train = raw[TRAIN]
    place = train[0].file + (f" and {len(train) - 1} more" if len(train) > 1 else "")
    for head in spec.heads:
        if kind_named(head.kind).from_text:
            spaces[head.key] = HeadSpace(head.task, head.head, head.kind, 0, ())
            heads.append(head)
            continue
        if wrong := _lacks_written(head, raw):
            problems.append(wrong)
            continue
        try:
            settled = _labels_in(head, train) if head.absent is None else _labels_of_all(head, raw)
            head = settled.column
            told += settled.warnings
            if head.absent is None:
                spaces[head.key] = infer_space(head, settled.labels, max_bad_fraction=max_bad_fraction)
            else:
                spaces[head.key], head = _normal_space(head, settled.labels, raw, max_bad_fraction)
        except DataError as error:
            problems.append(f"{place}: {error}")
        heads.append(head)
    if problems:
        raise DataError("\n".join(problems))
    return replace(spec, heads=tuple(heads)), spaces, told


def _labels_in(head: HeadColumn, files: Sequence[RawRows]) -> Settled:
    if absent := absent_columns([raw.rows for raw in files], head):
        rows = [row for raw in files for row in raw.examples]
        fix = "Set `columns` of the task, or `heads[].column`; the first line of a CSV file names its columns"
        raise DataError(no_column(head.where, absent, rows, fix=fix))
    settled = settle(head, _cells(files, head))
    if not settled.labels:
        columns = head.candidates if head.joined else [find_column(raw.rows, head.candidates) for raw in files]
        names = " or ".join(f"'{column}'" for column in dict.fromkeys(columns) if column)
        raise DataError(
            f"{head.where}: no training row has a label in column {names}; the head would learn nothing, at loss 0.0. "
            "Fill the column, name another one (`columns`, `heads[].column`), or take the head out"
            + "".join(f". {warning}" for warning in settled.warnings)
        )
    return settled


def _labels_of_all(head: HeadColumn, raw: Mapping[str, Sequence[RawRows]]) -> Settled:
    files = [each for several in raw.values() for each in several]
    return settle(head, _cells(files, head))


def _cells(files: Sequence[RawRows], head: HeadColumn) -> Sequence[Any]:
    """Return the cells that are neither null nor NaN; blank ones may say something."""
    if not head.joined and (known := _tallied(files, head)) is not None:
        return known
    places = [label_place(raw.rows, head) for raw in files]
    cells = (place(row) for raw, place in zip(files, places, strict=True) if place for row in raw.rows)
    return [cell for cell in cells if isinstance(cell, str) or not is_missing(cell)]


def _tallied(files: Sequence[RawRows], head: HeadColumn) -> Repeated | None:
    """Return the cells as they were counted when the files were read; None where some were not."""
    whole = Tally()
    for raw in files:
        column = find_column(raw.rows, head.candidates)
        if column is None:
            continue
        if not isinstance(raw, LargeRows) or column not in raw.tallies:
            return None
        whole.merge(raw.tallies[column])
    return whole.cells()


def _lacks_written(head: HeadColumn, raw: Mapping[str, Sequence[RawRows]]) -> str | None:
    """Return what is wrong where a training file lacks the column that the configuration names for optional labels."""
    if head.absent is None or not head.written:
        return None
    lacking = [each for each in raw[TRAIN] if each.rows and not find_column(each.rows, head.candidates)]
    others = [each for split, files in raw.items() if split != TRAIN for each in files]
    # Where no training file has the column but a valid or test file does, it is no slip: training is on normal rows.
    if not lacking or (
        len(lacking) == len(raw[TRAIN]) and any(find_column(each.rows, head.candidates) for each in others)
    ):
        return None
    fix = "Correct `columns` of the task or `heads[].column`; leave it out where no row has a label"
    return no_column(f"{lacking[0].file}: {head.where}", head.candidates, lacking[0].examples, fix=fix)


def _normal_space(
    head: HeadColumn, labels: Sequence[Any], raw: Mapping[str, Sequence[RawRows]], max_bad_fraction: float
) -> tuple[HeadSpace, HeadColumn]:
    columns = [find_column(each.rows, head.candidates) for files in raw.values() for each in files]
    return infer_normal_space(head, labels, unlabelled=None in columns, max_bad_fraction=max_bad_fraction)


# ---------------------------------------------------------------------------------------------------------------- split


def _stake(parsed: _Parsed) -> Stake:
    given = parsed.given
    wants = () if _VALID in given else (_VALID,) if _TEST in given else (_VALID, _TEST)
    strata = _strata(parsed.spec, given[TRAIN])
    key = _first_strata(parsed.spec)
    return Stake(parsed.spec.name, given[TRAIN], strata, parsed.spaces[key].size if key else 0, wants)


def _split(
    spec: SourceSpec, given: Mapping[str, Rows], share: Share, data: DataConfig, excluded: Excluded
) -> dict[str, Rows]:
    splits = {name: given[TRAIN].take(index) for name, index in share.parts.items()}
    splits |= {split: rows for split, rows in given.items() if split != TRAIN}
    # Behind the split, which stays as it is without the list.
    excluded.take_out(splits, spec.name)
    train = splits[TRAIN]
    if data.max_rows is not None and data.max_rows < len(train):
        drawn = cut(_strata(spec, train), {"rest": len(train) - data.max_rows}, seed=data.split_seed)
        splits[TRAIN] = train.take(drawn[TRAIN])
    if _TEST in splits and not len(splits[_TEST]):
        del splits[_TEST]
    return {name: splits[name] for name in (TRAIN, _VALID, _TEST) if name in splits}


def _first_strata(spec: SourceSpec) -> Key | None:
    return next((head.key for head in spec.heads if kind_named(head.kind).strata), None)


def _strata(spec: SourceSpec, rows: Rows) -> np.ndarray:
    key = _first_strata(spec)
    return np.full(len(rows), IGNORE_INDEX, np.int64) if key is None else np.asarray(rows.labels[key])
