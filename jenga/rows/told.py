"""What to tell of rows that were loaded: ids that are shared, labels that are missing, rows in two splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jenga.errors import DataError
from jenga.labels import kind_named
from jenga.labels.column import near
from jenga.labels.judge import all_unseen, labelled_rows
from jenga.labels.spaces import case_warnings, coverage_warnings
from jenga.rows.columns import column_names, find_column
from jenga.rows.large import repeated_ids
from jenga.rows.parse import Key, Rows, SourceSpec
from jenga.rows.raw import RawRows
from jenga.rows.split import TRAIN, duplicate_warning, leak_warning, shared_with
from jenga.types import HeadSpace

_VALID, _TEST = "valid", "test"


def duplicate_ids(spec: SourceSpec, raw: Mapping[str, Sequence[RawRows]]) -> Iterable[str]:
    """Yield warnings of ids that several rows share; raw: the files of each split."""
    for split, files in raw.items():
        warning = duplicate_warning(*repeated_ids(files, spec.id), split=split, source=spec.name)
        if warning:
            yield warning


def leaks(spec: SourceSpec, splits: Mapping[str, Rows]) -> Iterable[str]:
    """Yield warnings of rows to judge whose content stands in the training rows too."""
    keys = {split: rows.content.keys() for split, rows in splits.items()}
    shared = shared_with(keys[TRAIN])
    for split in (_VALID, _TEST):
        what = splits[TRAIN].content.shared
        own = keys.get(split, ())
        warning = leak_warning(shared(own), len(own), split=split, source=spec.name, what=what)
        if warning:
            yield warning


def unlabelled(spec: SourceSpec, raw: Mapping[str, Sequence[RawRows]]) -> Iterable[str]:
    """Yield warnings of files that lack the column of a head which takes rows without a label for normal."""
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


def label_warnings(spec: SourceSpec, splits: Mapping[str, Rows], spaces: Mapping[Key, HeadSpace]) -> list[str]:
    """Return warnings of labels that splits lack, and of those that may be meant to be one.

    Raises DataError where a head can learn nothing, or no row of a split has a label that training rows have.
    """
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
