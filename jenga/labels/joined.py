"""Labels of a head that stand in a column each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from jenga.config.tasks import HeadConfig

JOINED: Any = Field(
    None,
    min_length=1,
    description="Columns with one label of this head each, which is named after its column unless `labels` says so.",
)


def check_joined(head: HeadConfig, columns: Sequence[str] | None) -> None:
    """Raise ValueError where the columns of a head contradict its other settings."""
    if columns is None:
        return
    if head.column is not None:
        raise ValueError("columns: column is given too; keep one of them")
    if len(set(columns)) != len(columns):
        raise ValueError("columns: a column is given twice")
    for key, count in (("labels", len(head.labels or columns)), ("num_labels", head.num_labels or len(columns))):
        if count != len(columns):
            raise ValueError(f"columns: names {len(columns)} columns, but {key} has {count}")


def joined_names(columns: Sequence[str], labels: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of labels in a column each: as given, else the last part of each column that differs."""
    short = tuple(column.rpartition(".")[2] for column in columns)
    return tuple(labels or (short if len(set(short)) == len(short) else columns))
