"""Label spaces: which labels a head has, from the configuration or from the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jenga.data.cells import class_name
from jenga.data.labels import HeadColumn, RowError, numbered_names, read_cell, some_of, usual_normal
from jenga.data.tags import OUTSIDE, entity_types, is_per_word, tag_names
from jenga.errors import DataError
from jenga.types import IGNORE_INDEX, HeadSpace

# Integer classes this sparse are identifiers, and a head for each number up to the largest would be mostly dead.
_SPARSE_FACTOR, _SPARSE_OFFSET = 10, 100
_ANOMALY = "anomaly"


def infer_space(column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> HeadSpace:
    """Return the label space of a head from the configuration and `values`, its labels in the training rows.

    Values that fit no form are left to the parser, which sets their rows aside. Raises DataError when the rows hold
    more labels than `num_labels`; a few integers beyond it (at most `max_bad_fraction`) are mistakes of their rows.
    """
    if column.kind == "class":
        labels = _class_names(column, values, max_bad_fraction)
    else:
        labels = _INFER[column.kind](column, _readable(values))
    if not labels:
        raise DataError(f"{column.where}: no label in the training rows has a form that is allowed for '{column.kind}'")
    return HeadSpace(column.task, column.head, column.kind, len(labels), labels)


def infer_normal_space(
    column: HeadColumn, values: Sequence[Any], *, unlabelled: bool, max_bad_fraction: float
) -> tuple[HeadSpace, HeadColumn]:
    """Return the label space of a head that learns what is normal, and `column` with `absent` and `open` settled.

    values: its labels in the rows of all splits, may be empty. unlabelled: whether rows without a label column count as
    normal, so that there is a normal class even where no row names it. Raises DataError as `infer_space` does.
    """
    absent = column.absent
    assert absent is not None
    names = _class_names(column, values, max_bad_fraction)
    if values and not names:
        raise DataError(f"{column.where}: no label in the rows has a form that is allowed for 'class'")
    made_up = False
    if column.labels is None:
        usual = usual_normal(names)
        if absent not in names and (not names or (unlabelled and usual is None) or names == (_ANOMALY,)):
            names = (absent, *names)
        elif absent not in names and usual is not None:
            absent = names[usual]
        if made_up := len(names) == 1:
            names = (*names, _ANOMALY)
    space = HeadSpace(column.task, column.head, column.kind, len(names), names)
    return space, replace(column, absent=absent, open=made_up)


def _readable(values: Sequence[Any]) -> list[Any]:
    cells = []
    for value in values:
        try:
            cells.append(read_cell(value, ""))
        except RowError:
            continue
    return cells


def _class_names(column: HeadColumn, values: Sequence[Any], max_bad_fraction: float) -> tuple[str, ...]:
    if column.labels is not None:
        return column.labels
    if values and all(isinstance(value, bool) for value in values):
        return _sized(column, ("false", "true"))
    names = list(map(class_name, values))
    if any(isinstance(value, bool) for value in values) and any(isinstance(name, str) for name in names):
        # JSON's true beside names is that name, not the class 1.
        names = [str(value).lower() if _is_truth(value) else name for value, name in zip(values, names, strict=True)]
    counts = Counter(name for name in names if name is not None)
    if counts and all(isinstance(name, int) for name in counts):
        return _integer_classes(column, {int(name): count for name, count in counts.items()}, max_bad_fraction)
    return _sized(column, tuple(sorted(map(str, counts)))) if counts else ()


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("false", "true"))


def _integer_classes(column: HeadColumn, counts: dict[int, int], max_bad_fraction: float) -> tuple[str, ...]:
    shown = some_of(map(str, sorted(counts)))
    fix = "name the classes in `labels`, or renumber them from 0"
    if column.size is not None:
        beyond = sum(count for value, count in counts.items() if not 0 <= value < column.size)
        if beyond > max_bad_fraction * sum(counts.values()):
            raise DataError(
                f"{column.where}: the rows hold {len(counts)} classes ({shown}), but num_labels is {column.size}, "
                f"which allows 0 to {column.size - 1}; {fix}"
            )
        return numbered_names(column.size)
    if min(counts) < 0 or max(counts) >= _SPARSE_FACTOR * len(counts) + _SPARSE_OFFSET:
        raise DataError(f"{column.where}: the classes {shown} are not numbers that count from 0; {fix}")
    return numbered_names(max(counts) + 1)


def _item_names(column: HeadColumn, values: Sequence[Any]) -> tuple[str, ...]:
    cells = column.cells
    if column.labels is not None:
        return _independent(column, column.labels)
    names: set[str] = set()
    lengths: Counter[int] = Counter()
    for value in values:
        if isinstance(value, str) and (cells.marks or cells.separator or not isinstance(class_name(value), int)):
            value = cells.parts(value)
        if isinstance(value, dict):
            names.update(value)
        elif isinstance(value, list) and value and not cells.marks and all(isinstance(name, str) for name in value):
            # A word for "no label" among names is a mistake of its row.
            names.update(name.strip() for name in value if not cells.is_missing(name))
        elif value != []:
            lengths[len(value) if isinstance(value, list) else 1] += 1
    if names:
        return _independent(column, _sized(column, tuple(sorted(names))))
    size = column.size or (lengths.most_common(1)[0][0] if lengths else 0)
    return numbered_names(size)


def _independent(column: HeadColumn, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of items. Raises DataError where they are the two answers of one."""
    numbered = any(isinstance(class_name(name), int) for name in names)
    if not numbered and {column.cells.mark(name) for name in names} == {0.0, 1.0} and len(names) == 2:
        raise DataError(
            f"{column.where}: {some_of(names)} are the two answers of one item, and not two items; leave `labels` out "
            "or give it the item's name, or set `true_values` and `false_values` of the head if they are names"
        )
    return names


def _number_names(column: HeadColumn, values: Sequence[Any]) -> tuple[str, ...]:
    if column.labels is not None:
        return column.labels
    lengths = Counter(len(value) if isinstance(value, list) else 1 for value in values)
    size = column.size or (lengths.most_common(1)[0][0] if lengths else 0)
    return (column.head,) if size == 1 else numbered_names(size)


def _tags(column: HeadColumn, values: Sequence[Any]) -> tuple[str, ...]:
    if column.labels is not None:
        return tag_names(entity_types(column.labels))
    types: set[str] = set()
    for value in values:
        if is_per_word(value):
            if any(isinstance(tag, int) for tag in value):
                raise DataError(
                    f"{column.where}: the tags are numbers; set `labels` of the head to the tags in order, for example "
                    "[O, B-person, I-person]"
                )
            types.update(tag[2:] for tag in value if isinstance(tag, str) and tag[:2] in ("B-", "I-") and tag[2:])
        elif isinstance(value, list):
            labels = (span.get("label") for span in value if isinstance(span, dict))
            types.update(label.strip() for label in labels if isinstance(label, str))
    return _sized(column, tag_names(sorted(types))) if types else ()


def _sized(column: HeadColumn, labels: tuple[str, ...]) -> tuple[str, ...]:
    size = column.size or len(labels)
    if len(labels) > size:
        what = "tags" if column.kind == "tags" else "items" if column.kind == "items" else "classes"
        raise DataError(
            f"{column.where}: the rows hold {len(labels)} {what} ({some_of(labels)}), but num_labels is {size}; "
            f"set num_labels to {len(labels)} or leave it out, or list the allowed ones in `labels`"
        )
    if column.absent is not None:
        return labels
    return (*labels, *(f"unused_{at}" for at in range(len(labels), size)))


_INFER: dict[str, Callable[[HeadColumn, Sequence[Any]], tuple[str, ...]]] = {
    "items": _item_names,
    "number": _number_names,
    "tags": _tags,
}


def count_labelled(space: HeadSpace, labels: Any) -> int:
    """Return how many rows carry a label of the head; `labels`: as in `Rows.labels`."""
    if space.kind == "tags":
        return sum(bool(len(tags)) and tags[0] != IGNORE_INDEX for tags in labels)
    if space.kind == "class":
        return int((labels != IGNORE_INDEX).sum())
    return int((~np.isnan(labels)).any(axis=1).sum())


def coverage_warnings(space: HeadSpace, labels: Any) -> list[str]:
    """Return what the training rows cannot teach: labels without a row, and a head with one answer only."""
    where = f"head '{space.task}.{space.head}'"
    if space.kind == "number":
        return []
    counts = _label_counts(space, labels)
    absent = [name for name, count in zip(space.labels, counts, strict=True) if not count and not name.startswith("I-")]
    warnings = []
    if absent:
        what = {"class": "classes", "items": "items", "tags": "tags"}[space.kind]
        warnings.append(f"{where}: {len(absent)} of {space.size} {what} have no training row: {some_of(absent)}")
    present = np.flatnonzero(counts)
    if space.kind == "class" and len(present) == 1 and space.size > 1:
        only = space.labels[present[0]]
        warnings.append(f"{where}: all {int(counts.sum())} labelled training rows are of one class, '{only}'")
    return warnings


def case_warnings(space: HeadSpace) -> list[str]:
    """Return a warning of labels that differ in upper and lower case alone."""
    names = [name[2:] for name in space.labels if name.startswith("B-")] if space.kind == "tags" else space.labels
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.casefold(), []).append(name)
    groups = [" and ".join(f"'{name}'" for name in group) for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    return [
        f"head '{space.task}.{space.head}': {some_of(groups)} differ in case alone and are labels of their own; write "
        "them alike, or list them in `labels` if they differ"
    ]


def _label_counts(space: HeadSpace, labels: Any) -> np.ndarray:
    if space.kind == "items":
        return np.asarray((labels == 1).sum(axis=0))
    codes = np.concatenate(labels) if space.kind == "tags" and len(labels) else np.asarray(labels, dtype=np.int64)
    counts = np.bincount(codes[codes != IGNORE_INDEX], minlength=space.size)
    if space.kind == "tags":
        counts[space.labels.index(OUTSIDE)] = max(counts[space.labels.index(OUTSIDE)], 1)
    return counts
