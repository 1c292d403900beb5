"""Label spaces: which labels a head has, from the configuration or from the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jenga.errors import DataError
from jenga.labels.base import kind_named
from jenga.labels.column import HeadColumn, some_of, usual_normal
from jenga.types import HeadSpace

_ANOMALY = "anomaly"


def infer_space(column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> HeadSpace:
    """Return the label space of a head from the configuration and `values`, its labels in the training rows.

    Values that fit no form are left to the parser, which sets their rows aside. Raises DataError when the rows hold
    more labels than `num_labels`; a few integers beyond it (at most `max_bad_fraction`) are mistakes of their rows.
    """
    labels = kind_named(column.kind).infer(column, values, max_bad_fraction=max_bad_fraction)
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
    names = kind_named(column.kind).infer(column, values, max_bad_fraction=max_bad_fraction)
    if values and not names:
        raise DataError(f"{column.where}: no label in the rows has a form that is allowed for '{column.kind}'")
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


def sized(column: HeadColumn, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return `labels`, filled up to num_labels with names of none. Raises DataError where there are more."""
    size = column.size or len(labels)
    if len(labels) > size:
        what = kind_named(column.kind).noun
        raise DataError(
            f"{column.where}: the rows hold {len(labels)} {what} ({some_of(labels)}), but num_labels is {size}; "
            f"set num_labels to {len(labels)} or leave it out, or list the allowed ones in `labels`"
        )
    if column.absent is not None:
        return labels
    return (*labels, *(f"unused_{at}" for at in range(len(labels), size)))


def coverage_warnings(space: HeadSpace, targets: Any) -> list[str]:
    """Return what the training rows cannot teach: labels without a row, and a head with one answer only."""
    where = f"head '{space.task}.{space.head}'"
    kind = kind_named(space.kind)
    counts = kind.counts(space, targets)
    if counts is None:
        return []
    absent = [space.labels[at] for at in np.flatnonzero((counts == 0) & kind.expected(space))]
    warnings = []
    if absent:
        warnings.append(f"{where}: {len(absent)} of {space.size} {kind.noun} have no training row: {some_of(absent)}")
    present = np.flatnonzero(counts)
    if kind.strata and len(present) == 1 and space.size > 1:
        only = space.labels[present[0]]
        warnings.append(f"{where}: all {int(counts.sum())} labelled training rows are of one class, '{only}'")
    return warnings


def case_warnings(space: HeadSpace) -> list[str]:
    """Return a warning of labels that differ in upper and lower case alone."""
    alike: dict[str, list[str]] = {}
    for name in kind_named(space.kind).names(space):
        alike.setdefault(name.casefold(), []).append(name)
    groups = [" and ".join(f"'{name}'" for name in group) for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    return [
        f"head '{space.task}.{space.head}': {some_of(groups)} differ in case alone and are labels of their own; write "
        "them alike, or list them in `labels` if they differ"
    ]
