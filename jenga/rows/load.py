"""The sources of rows of a run, loaded: read, checked against the configuration, parsed and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jenga.errors import DataError
from jenga.labels import kind_named
from jenga.labels.cells import is_missing
from jenga.labels.column import HeadColumn, near
from jenga.labels.forms import Settled, settle
from jenga.labels.judge import all_unseen, labelled_rows
from jenga.labels.spaces import case_warnings, coverage_warnings, infer_normal_space, infer_space
from jenga.labels.unseen import unseen_warnings
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.columns import absent_columns, column_names, find_column, label_place, lookup, no_column
from jenga.rows.exclude import Excluded
from jenga.rows.parse import Key, Parser, Rows, SourceSpec, note_warnings
from jenga.rows.partition import Share, Stake, check_roles, partition
from jenga.rows.raw import BadRow, RawRows
from jenga.rows.read_once import ReadOnce
from jenga.rows.readers import read_rows
from jenga.rows.split import TRAIN, cut, duplicate_warning, leak_warning
from jenga.types import IGNORE_INDEX, HeadSpace

if TYPE_CHECKING:
    from jenga.config.schema import DataConfig

_VALID, _TEST = "valid", "test"
_BAD_ROWS_SHOWN = 5


@dataclass
class LoadedSource:
    """A source ready to be encoded. `splits` has train and valid, and test unless there is none.

    `bad`: the rows set aside, of all files. `warnings`: sentences for the log. `digests`: SHA-256 of the rows of each
    file, by its name; `sizes`: how many it has, bad ones too.
    """

    spec: SourceSpec
    splits: dict[str, Rows]
    spaces: dict[Key, HeadSpace]
    bad: list[BadRow]
    warnings: list[str]
    digests: dict[str, str]
    sizes: dict[str, int]

    def set_aside(self, bad: Sequence[BadRow], max_bad_fraction: float) -> None:
        """Add rows that parsed and cannot be encoded. Raises DataError where a file has too many bad ones now."""
        for file in dict.fromkeys(row.file for row in bad):
            of_file = [row for row in (*bad, *self.bad) if row.file == file]
            stop_if_many(file, of_file, self.sizes[file], max_bad_fraction)
        self.bad += bad

    def source(self, splits: dict[str, EncodedSplit]) -> Source:
        """Return the source of the encoded `splits`."""
        tasks = tuple(dict.fromkeys(task for task, _ in self.spaces))
        return Source(self.spec.name, tasks, splits, self.spec.content, self.spec.encoder)


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
    unseen: Counter[tuple[str, str]]
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
    if files is None:
        read = ReadOnce(partial(read_rows, form=specs[0].form if specs else None), by_place=by_place(specs))
        files = [read] * len(specs)
    given = [
        {split: [(path, read(path, split=split)) for path in names] for split, names in _paths(spec).items() if names}
        for spec, read in zip(specs, files, strict=True)
    ]
    told = check_roles([spec.name for spec in specs], given)
    parsed = []
    for spec, splits in zip(specs, given, strict=True):
        raw = {split: [each for _, each in pairs] for split, pairs in splits.items()}
        parsed.append(_parsed(spec, raw, data.max_bad_fraction))
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


def _parsed(spec: SourceSpec, raw: dict[str, list[RawRows]], max_bad_fraction: float) -> _Parsed:
    for each in raw[TRAIN]:
        stop_if_many_bad(each, each.bad, max_bad_fraction)
    spec, spaces, told = _spaces(spec, raw, max_bad_fraction)
    found = _Parsed(spec, raw, spaces, {}, [], Counter(), Counter(), told)
    for split, files in raw.items():
        parts = []
        for each in files:
            parser = Parser(each, spec, spaces)
            rows, unusable = parser.run()
            stop_if_many_bad(each, unusable, max_bad_fraction, told=told)
            found.notes += parser.notes
            found.unseen += parser.unseen
            found.told += [words for words in each.told if words not in found.told]
            found.told += [f"{each.file}: {words}" for words in parser.blank_warnings()]
            found.bad += unusable
            parts.append(rows)
        found.given[split] = Rows.joined(parts)
    return found


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
        *_duplicate_ids(spec, raw),
        *_unlabelled(spec, raw),
        *_label_warnings(spec, splits, spaces),
        *_leaks(spec, splits),
    ]
    sizes = {each.file: len(each.rows) + len(each.bad) for files in raw.values() for each in files}
    return LoadedSource(spec, splits, spaces, parsed.bad, warnings, digests, sizes)


def stop_if_many_bad(
    raw: RawRows,
    bad: Sequence[BadRow],
    max_bad_fraction: float,
    *,
    fix: str = "Correct the rows or the configuration, or raise data.max_bad_fraction",
    told: Sequence[str] = (),
) -> None:
    """Raise DataError, which shows the first of them, where `bad` are more than a share of the rows of a file.

    told: how the labels were read, which may be what is wrong.
    """
    stop_if_many(raw.file, bad, len(raw.rows) + len(raw.bad), max_bad_fraction, fix=fix, told=told)


def stop_if_many(
    where: str,
    bad: Sequence[BadRow],
    total: int,
    max_bad_fraction: float,
    *,
    fix: str = "Correct the rows or the configuration, or raise data.max_bad_fraction",
    told: Sequence[str] = (),
) -> None:
    """Raise DataError, which shows the first of them, where `bad` are more than a share of `total` rows."""
    if len(bad) <= max_bad_fraction * total:
        return
    shown = "\n".join(f"  {row}" for row in bad[:_BAD_ROWS_SHOWN])
    more = f"\n  ... and {len(bad) - _BAD_ROWS_SHOWN} more" if len(bad) > _BAD_ROWS_SHOWN else ""
    raise DataError(
        f"{where}: {len(bad)} of {total} rows cannot be used; data.max_bad_fraction allows {max_bad_fraction:g}. "
        f"{fix}:\n{shown}{more}" + "".join(f"\n  {words}" for words in told)
    )


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


def _cells(files: Sequence[RawRows], head: HeadColumn) -> list[Any]:
    """Return the cells that are neither null nor NaN; blank ones may say something."""
    places = [label_place(raw.rows, head) for raw in files]
    cells = (place(row) for raw, place in zip(files, places, strict=True) if place for row in raw.rows)
    return [cell for cell in cells if isinstance(cell, str) or not is_missing(cell)]


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


# ------------------------------------------------------------------------------------------------------------- warnings


def _duplicate_ids(spec: SourceSpec, raw: Mapping[str, Sequence[RawRows]]) -> Iterable[str]:
    for split, files in raw.items():
        names = [lookup(row, spec.id) for each in files for row in each.rows]
        ids = [str(name) for name in names if not is_missing(name)]
        warning = duplicate_warning(ids, split=split, source=spec.name)
        if warning:
            yield warning


def _leaks(spec: SourceSpec, splits: Mapping[str, Rows]) -> Iterable[str]:
    keys = {split: rows.content.keys() for split, rows in splits.items()}
    for split in (_VALID, _TEST):
        what = splits[TRAIN].content.shared
        own = keys.get(split, ())
        warning = leak_warning(keys[TRAIN], own, split=split, source=spec.name, what=what)
        if warning:
            yield warning


def _unlabelled(spec: SourceSpec, raw: Mapping[str, Sequence[RawRows]]) -> Iterable[str]:
    for head in spec.heads:
        for each in (each for files in raw.values() for each in files):
            if head.absent is None or not each.rows or find_column(each.rows, head.candidates):
                continue
            found = column_names(each.examples)
            close = next((words for words in (near(name, found) for name in head.candidates) if words != "."), ".")
            wanted = " or ".join(f"'{name}'" for name in head.candidates)
            yield (
                f"{each.file} has no column {wanted} for {head.where}{close} All {len(each.rows)} rows are taken for "
                f"normal; if their labels stand elsewhere, name the column (`heads[].column`)"
            )


def _label_warnings(spec: SourceSpec, splits: Mapping[str, Rows], spaces: Mapping[Key, HeadSpace]) -> list[str]:
    warnings = []
    if not len(splits[_VALID]):
        warnings.append(
            f"{spec.name}: there are no valid rows; nothing shows whether the model learns more than its rows"
        )
    for split, rows in splits.items():
        if wrong := all_unseen((space, rows.labels[key]) for key, space in spaces.items() if key in rows.labels):
            raise DataError(f"{spec.name}, {split}: {wrong}. Correct the labels, or list them all in `labels`")
    unsupervised = {head.key for head in spec.heads if head.absent is not None}
    listed = {head.key for head in spec.heads if head.labels is not None}
    for key, space in spaces.items():
        if kind_named(space.kind).from_text:
            continue
        where = f"head '{'.'.join(key)}'"
        for split, rows in splits.items():
            if len(rows) and not labelled_rows(space, rows.labels[key]):
                if split == TRAIN and key not in unsupervised:
                    raise DataError(
                        f"{spec.name}: {where}: none of the {len(rows)} training rows that are left after the split "
                        "and data.max_rows has a label; give more labelled rows, or take the head out"
                    )
                warnings.append(
                    f"{spec.name}: {where}: none of the {len(rows)} {split} rows has a label; it gets no {split} scores"
                )
        if key not in unsupervised:
            warnings += coverage_warnings(space, splits[TRAIN].labels[key])
        if key not in listed:
            warnings += case_warnings(space)
    return warnings
