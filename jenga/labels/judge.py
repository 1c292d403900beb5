"""How well a head predicts, by the kind of its labels. A missing label never counts; the undefined is left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jenga.labels.base import kind_named
from jenga.labels.column import some_of
from jenga.types import HeadSpace


def labelled_rows(space: HeadSpace, targets: Any) -> int:
    """Return how many rows have at least one label for this head."""
    return int(kind_named(space.kind).labelled(space, targets).sum())


def all_unseen(heads: Iterable[tuple[HeadSpace, Any]]) -> str | None:
    """Return what is wrong where rows have labels, but none that a training row has; heads: with their targets."""
    lacking = []
    for space, targets in heads:
        if kind_named(space.kind).known(space, targets).any():
            return None
        if labelled_rows(space, targets):
            lacking.append(f"'{space.task}.{space.head}' ({some_of(kind_named(space.kind).names(space))})")
    if not lacking:
        return None
    return f"no row has a label that the training rows have; heads and their labels there: {', '.join(lacking)}"


def head_metrics(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
    """Return the metrics of one head, as `LabelKind.judge` of its kind has them; {} where no row is labelled.

    predictions and targets: shaped as the kind's columns. Raises ValueError when they differ in length.
    """
    if len(predictions) != len(targets):
        raise ValueError(f"{space.task}.{space.head}: {len(predictions)} predictions for {len(targets)} targets")
    return kind_named(space.kind).judge(space, predictions, targets) if labelled_rows(space, targets) else {}


def head_details(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
    """Return tables of one head, ready for JSON; arguments as for `head_metrics`.

    Always ``warnings`` (a list of sentences). With labelled rows also what `LabelKind.details` of its kind has. What is
    undefined is None.
    """
    if not labelled_rows(space, targets):
        return {"warnings": ["no labelled row"]}
    return kind_named(space.kind).details(space, predictions, targets)
