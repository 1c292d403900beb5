"""The settings that `jenga tune` searches: each value is held against the schema before the first trial."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from jenga.config.explain import validate
from jenga.config.overrides import put_value
from jenga.config.syntax import Place
from jenga.config.tune import Interval, TuneConfig
from jenga.config.yaml12 import Document, KeyPath, dotted
from jenga.errors import ConfigError, Problem

Judge = Callable[[Document], Sequence[Problem]]
"""Returns what is wrong with a document, which it may complete."""

_BLOCK = "tune"
_NO_MATTER = ("output_dir", "project_name", "tracking", "data.workers", "data.cache_dir", _BLOCK)
"""Settings by which no run is better than another."""
_JUDGES = (
    "evaluation.metric", "evaluation.greater_is_better", "data.valid_fraction", "data.test_fraction", "data.split_seed",
    "tasks[].data_path", "tasks[].data_path.valid", "tasks[].data_path.test",
)  # fmt: skip
"""Settings that choose what trials are judged by: the score, and the rows."""
_IN_LOSS = ("weight", "class_weight", "pos_weight", "label_smoothing", "loss", "gamma")
"""Settings of tasks and heads by which losses are measured, not only made less."""


@dataclass(frozen=True)
class Dimension:
    """What trials take for one key: one of `values`, or a number of `interval`, whole where only those are accepted."""

    path: KeyPath
    values: Sequence[Any] = ()
    interval: Interval | None = None
    whole: bool = False

    def grid(self) -> list[Any] | None:
        """Return every value there is; None for numbers without steps."""
        if self.interval is None:
            return list(self.values)
        step = 1 if self.whole and self.interval.step is None else self.interval.step
        if step is None or self.interval.log:
            return None
        count = math.floor((self.interval.high - self.interval.low) / step + 1e-9) + 1
        found = [self.interval.low + number * step for number in range(count)]
        return [round(each) for each in found] if self.whole else found


@dataclass
class Space:
    """The dimensions by key, in the order of the file, and what is wrong with them."""

    dimensions: dict[str, Dimension] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def with_values(document: Document, values: Mapping[str, Any]) -> Document:
    """Return `document` without its block `tune` and with `values` by key, in the order of the block.

    A problem with a value has the place of its key in the block. Raises ConfigError for a key that leads nowhere.
    """
    changed = copy.deepcopy(document)
    changed.data.pop(_BLOCK)
    for key in document.data[_BLOCK]["space"]:
        if key in values:
            put_value(changed, key, values[key], _place(document, key))
    changed.problems.clear()
    return changed


def searched(document: Document, judge: Judge) -> Space:
    """Return the space that the block `tune` of `document` describes, each of its values tried alone.

    A block that is against its schema, which is told elsewhere, gives an empty one.
    """
    space = Space()
    try:
        config = validate(TuneConfig, document.data[_BLOCK])
    except ValidationError:
        return space
    usual = {(each.key, each.message) for each in judge(with_values(document, {}))}
    metric = config.metric or document.value_at(("evaluation", "metric")) or "auto"
    metric = "eval_loss" if metric == "auto" else metric  # which it may come to
    for key, entry in config.space.items():
        found = list(_wrong_shape(document, key, entry, str(metric)))
        dimension, wrong = (None, []) if found else _dimension(document, key, entry, judge, usual)
        space.problems += found + wrong
        if dimension is not None:
            space.dimensions[key] = dimension
    space.problems += _overlaps(document, space.dimensions)
    if config.sampler == "grid":
        endless = [key for key, each in space.dimensions.items() if each.grid() is None]
        space.problems += [_problem(document, key, "a grid needs a list, or a step without log") for key in endless]
    return space


def contradictions_of(document: Document, space: Space, judge: Judge) -> list[Problem]:
    """Return what values of two keys contradict, of which each is accepted alone."""
    found: list[Problem] = []
    values = {key: [value for _, value in _probes(each)] for key, each in space.dimensions.items()}
    usual = {(each.key, each.message) for each in judge(with_values(document, {}))}
    for one, other in combinations(values, 2):
        for first in values[one]:
            for second in values[other]:
                wrong = _new(document, {one: first, other: second}, judge, usual)
                found += [
                    _problem(document, other, f"{_shown(second)} with {one}: {_shown(first)}: {each}")
                    for each in wrong[:1]
                ]
    return found


def _wrong_shape(document: Document, key: str, entry: Any, metric: str) -> Iterator[Problem]:
    plain = re.sub(r"\[[^\]]*\]", "[]", key)
    if any(plain == each or plain.startswith(f"{each}.") for each in _NO_MATTER):
        yield _problem(document, key, "no run is better or worse by it; take it out of the space")
    elif plain in _JUDGES or any(each.startswith(f"{plain}.") for each in _JUDGES):
        yield _problem(document, key, "chooses what trials are judged by, so that their scores could not be compared; "
                       "take it out of the space")  # fmt: skip
    elif metric.endswith("loss") and plain.startswith("tasks[]") and plain.rpartition(".")[2] in _IN_LOSS:
        message = f"changes how {metric} is measured, by which trials are judged; set tune.metric to another score"
        yield _problem(document, key, message)
    if isinstance(entry, Interval):
        yield from _wrong_interval(document, key, entry)
    elif len({json.dumps(each, sort_keys=True) for each in entry}) < len(entry):
        yield _problem(document, key, "the list has a value twice; take one out")


def _wrong_interval(document: Document, key: str, entry: Interval) -> Iterator[Problem]:
    if entry.low >= entry.high:
        yield _problem(document, key, f"low ({entry.low:g}) must be less than high ({entry.high:g})", "low")
    elif entry.log and entry.low <= 0:
        yield _problem(document, key, f"low must be greater than 0 with log, got {entry.low:g}", "low")
    elif entry.log and entry.step is not None:
        yield _problem(document, key, "goes without log; remove one of them", "step")
    elif entry.step is not None:
        steps = (entry.high - entry.low) / entry.step
        if abs(steps - round(steps)) > 1e-9:
            reached = entry.low + math.floor(steps) * entry.step
            message = f"no number of steps of {entry.step:g} leads from {entry.low:g} to it; write {reached:g}"
            yield _problem(document, key, message, "high")


def _dimension(
    document: Document, key: str, entry: Any, judge: Judge, usual: set[tuple[str, str]]
) -> tuple[Dimension | None, list[Problem]]:
    """Return the dimension of `key`, and what is wrong with its values, each tried alone."""
    try:
        path = put_value(copy.deepcopy(document), key, None, _place(document, key))
    except ConfigError as error:
        return None, [_problem(document, key, each.message) for each in error.problems]
    found = Dimension(path, values=entry)
    if isinstance(entry, Interval):
        part = (entry.high - entry.low) * 0.381966
        fraction = entry.low + part + (0.5 if (entry.low + part).is_integer() else 0)
        ends = entry.low.is_integer() and entry.high.is_integer() and (entry.step or 1.0).is_integer()
        whole = ends and bool(_new(document, {key: fraction}, judge, usual))
        found = Dimension(path, interval=entry, whole=whole)
    return found, _wrong_values(document, key, found, judge, usual)


def _wrong_values(
    document: Document, key: str, dimension: Dimension, judge: Judge, usual: set[tuple[str, str]]
) -> list[Problem]:
    probes, wrong = _probes(dimension), {}
    for where, value in probes:
        for each in _new(document, {key: value}, judge, usual)[:1]:
            wrong[where] = each.message if each.key == dotted(dimension.path) else f"{each.key}: {each.message}"
    if len(probes) == len(wrong) > 1 == len(set(wrong.values())):  # of the key, whatever its value
        return [_problem(document, key, next(iter(wrong.values())))]
    return [_problem(document, key, f"{_shown(value)}: {wrong[w]}", w) for w, value in probes if w in wrong]


def _probes(dimension: Dimension) -> list[tuple[str | int, Any]]:
    """Return the values of a dimension that tell of the others, each with its place in the entry."""
    if dimension.interval is None:
        return list(enumerate(dimension.values))
    ends: list[tuple[str | int, Any]] = [("low", dimension.interval.low), ("high", dimension.interval.high)]
    return [(where, round(value)) for where, value in ends] if dimension.whole else ends


def _new(document: Document, values: Mapping[str, Any], judge: Judge, usual: set[tuple[str, str]]) -> list[Problem]:
    """Return what is wrong with `values` in `document` that is not wrong without them."""
    try:
        found = judge(with_values(document, values))
    except ConfigError as error:
        found = error.problems
    return [each for each in found if (each.key, each.message) not in usual]


def _overlaps(document: Document, dimensions: Mapping[str, Dimension]) -> Iterator[Problem]:
    for other, one in ((b, a) for a, b in combinations(dimensions, 2)):
        first, second = dimensions[one].path, dimensions[other].path
        shorter = min(len(first), len(second))
        if first[:shorter] == second[:shorter]:
            yield _problem(document, other, f"is the same setting as {one}, or a part of it; take one out")


def _place(document: Document, key: str, where: str | int | None = None) -> Place:
    path: KeyPath = (_BLOCK, "space", key)
    return document.key_place(path) if where is None else document.value_place((*path, where))


def _problem(document: Document, key: str, message: str, where: str | int | None = None) -> Problem:
    path: KeyPath = (_BLOCK, "space", key) if where is None else (_BLOCK, "space", key, where)
    return _place(document, key, where).problem(dotted(path), message)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
