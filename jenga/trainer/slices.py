"""How well a model answers parts of a split's rows: those of a language, of a length, of any value of a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.config.schema import EvaluationConfig
from jenga.errors import ConfigError
from jenga.labels.cells import is_missing, json_text
from jenga.labels.judge import labelled_rows
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.split import TRAIN
from jenga.tasks import BaseTask
from jenga.types import HeadSpace

LENGTH = "length"
"""The slice of a row by how long it is, which is no column."""
MAX_VALUES = 20
"""Values of a column that are slices of their own; those of the others are one together."""
_PARTS = 4
_VALUE_LENGTH = 80
Slices = Mapping[str, list[tuple[str, NDArray[np.int64]]]]


def slice_columns(evaluation: EvaluationConfig) -> list[str]:
    """Return the columns that rows keep for the slices."""
    return [name for name in evaluation.slices if name != LENGTH]


def check_slices(evaluation: EvaluationConfig, sources: Sequence[Source]) -> None:
    """Raise ConfigError where a slice is by a column that no training row has a value in."""
    marks = [source.splits[TRAIN].rows.marks for source in sources]
    for name in slice_columns(evaluation):
        if any(not is_missing(cell) for each in marks for cell in each.get(name, ())):
            continue
        raise ConfigError(
            f"evaluation.slices: no training row has a value in the column '{name}'; name "
            f"columns of the rows, or '{LENGTH}'"
        )


def slices_of(part: EncodedSplit, wanted: Sequence[str]) -> Slices:
    """Return the rows of each slice of a split by what it is cut by, and the slice's name.

    By length, rows fall into four parts of about as many; where all are equally long, there is nothing to cut.
    """
    found = {}
    for name in wanted:
        if name == LENGTH:
            by_row = not part.encoded.packed and len(part.encoded) == len(part.rows)
            groups = _by_number(np.asarray(part.lengths, np.float64)) if by_row else []
        else:
            groups = _by_value(part.rows.marks.get(name, ()))
        if len(groups) > 1:
            found[f"{name} ({part.encoded.unit})" if name == LENGTH else name] = groups
    return found


def described(
    task: BaseTask, space: HeadSpace, slices: Slices, predictions: Any, targets: Any, scores: np.ndarray | None
) -> list[dict[str, Any]]:
    """Return a table a slice, ready for JSON: ``{"by", "rows": [{"value", "rows", "metrics"}]}``."""
    found = []
    for name, groups in slices.items():
        lines = []
        for value, at in groups:
            own = _taken(targets, at)
            if rows := labelled_rows(space, own):
                chosen = None if scores is None else scores[at]
                metrics = task.metrics(space, _taken(predictions, at), own, scores=chosen)
                lines.append({"value": value, "rows": rows, "metrics": metrics})
        if len(lines) > 1:
            found.append({"by": name, "rows": lines})
    return found


def _taken(column: Any, at: NDArray[np.int64]) -> Any:
    return column[at] if isinstance(column, np.ndarray) else [column[row] for row in at.tolist()]


def _by_value(cells: Sequence[Any]) -> list[tuple[str, NDArray[np.int64]]]:
    there = [None if is_missing(cell) else cell for cell in cells]
    known = [cell for cell in there if cell is not None]
    if not known:
        return []
    values = [None if cell is None else cell if isinstance(cell, str) else json_text(cell) for cell in there]
    counts = Counter(value for value in values if value is not None)
    if len(counts) > MAX_VALUES and all(isinstance(cell, int | float) for cell in known):
        return _by_number(np.array([np.nan if cell is None else float(cell) for cell in there]))
    shown = [value for value, _ in counts.most_common(MAX_VALUES)]
    places: dict[str, list[int]] = {value: [] for value in (*shown, "(others)", "(none)")}
    for row, value in enumerate(values):
        places["(none)" if value is None else value if value in places else "(others)"].append(row)
    return [(value[:_VALUE_LENGTH], np.array(rows, np.int64)) for value, rows in places.items() if rows]


def _by_number(values: NDArray[np.float64]) -> list[tuple[str, NDArray[np.int64]]]:
    known = values[~np.isnan(values)]
    if not len(known):
        return []
    ends = np.unique(np.quantile(known, np.linspace(0, 1, _PARTS + 1)[1:], method="higher"))
    part = np.searchsorted(ends, values)
    groups = []
    for at in range(len(ends)):
        rows = np.flatnonzero((part == at) & ~np.isnan(values))
        low, high = values[rows].min(), values[rows].max()
        groups.append((f"{low:,.6g}" if low == high else f"{low:,.6g} to {high:,.6g}", rows))
    return groups
