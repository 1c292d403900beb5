"""The stages of a training, found in its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from jenga.config.schema import ExperimentConfig
from jenga.config.stages import Cell, StageConfig, Wanted
from jenga.config.training import resolved
from jenga.errors import ConfigError, DataError, printable
from jenga.labels.cells import json_text
from jenga.rows.batches import EncodedSplit, Source, rows_of_all
from jenga.rows.split import TRAIN
from jenga.rows.stages import Stage

_SHOWN = 8
_JUDGING = ("test", "valid")
"""The splits that stages may be judged on, the best first."""


def stages_of(sources: Sequence[Source], config: ExperimentConfig) -> list[Stage]:
    """Return the stages of a built experiment, in their order.

    Raises DataError where a stage has no rows to learn from or to be judged on, and ConfigError where its rows cannot
    be told apart.
    """
    epochs = resolved(config.training).epochs
    return [_stage(each, sources, each.epochs or epochs) for each in config.stages]


def _stage(given: StageConfig, sources: Sequence[Source], epochs: int) -> Stage:
    tasks = {
        source.name: tuple(task for task in source.tasks if given.tasks is None or task in given.tasks)
        for source in sources
    }
    own = [source for source in sources if tasks[source.name]]
    rows = {source.name: _found(given, source, TRAIN) for source in own}
    judged = {}
    for source in own:
        split = next((each for each in _JUDGING if each in source.splits and len(source.splits[each])), None)
        found = np.empty(0, np.int64) if split is None else _found(given, source, split)
        if not len(found):
            raise DataError(
                f"stages[{given.name}]: {source.name} has no {split or 'test or validation'} rows of it to judge it "
                "by; give some, or let data.test_fraction cut them from the training rows"
            )
        judged[source.name] = (str(split), found)
    return Stage(given.name, epochs, {source.name: tasks[source.name] for source in own}, rows, judged)


def _found(given: StageConfig, source: Source, split: str) -> np.ndarray:
    """Return the entries of a split that a stage is of, int64. Raises DataError where it has no training rows."""
    part = source.splits[split]
    if not given.where:
        return np.arange(len(part))
    if part.encoded.packed:
        raise ConfigError(
            f"stages[{given.name}].where: {source.name} packs several rows into an entry, which may be of several "
            "stages; give each stage a task with files of its own"
        )
    there = np.ones(len(part), bool)
    for column, wanted in given.where.items():
        fitting = _fitting(part, column, wanted)
        if split == TRAIN and not fitting.any():
            raise DataError(
                f"stages[{given.name}].where.{column}: no training row of {source.name} has {_words(wanted)}; "
                f"there are: {_seen(part, column)}"
            )
        there &= fitting
    if split == TRAIN and not there.any():
        raise DataError(f"stages[{given.name}].where: no training row of {source.name} has all of it")
    return np.flatnonzero(there)


def _fitting(part: EncodedSplit, column: str, wanted: Wanted) -> np.ndarray:
    values = wanted if isinstance(wanted, list) else [wanted]
    names = {_name(each) for each in values}
    cells = part.rows.marks[column]
    fitting: np.ndarray = np.fromiter((_name(cell) in names for cell in cells), bool, len(cells))[rows_of_all(part)]
    return fitting


def _name(cell: object) -> str:
    """Return by what cells are the same: 1, "1" and 1.0 are one number, and false and "False" one word."""
    text = str(cell).strip()
    if isinstance(cell, bool) or text.casefold() in ("true", "false"):
        return text.casefold()
    try:
        number = float(text)
    except ValueError:
        return text
    return repr(number) if math.isfinite(number) else text


def _words(wanted: Wanted) -> str:
    values: Sequence[Cell] = wanted if isinstance(wanted, list) else [wanted]
    return " or ".join(json_text(each) for each in values)


def _seen(part: EncodedSplit, column: str) -> str:
    counts: Mapping[str, None] = dict.fromkeys(json_text(cell) for cell in part.rows.marks[column])
    if list(counts) == ["null"]:
        return f"no cells; no row has a column '{column}'"
    shown = list(counts)[:_SHOWN]
    return printable(", ".join(shown)) + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")
