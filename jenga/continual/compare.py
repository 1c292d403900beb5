"""Several runs in stages side by side: those that differ by their seed alone are one row, with mean and spread."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jenga.continual.summary import FILE
from jenga.errors import DataError
from jenga.files import json_object
from jenga.report.card import as_text
from jenga.tables import number

FIGURES = ("final", "forgetting", "backward_transfer", "forward_transfer")
_NEITHER = {"training": ("seed",)}
"""Settings by which runs of one row may differ, beside where they write."""
_SHOWN = 3


@dataclass(frozen=True)
class Group:
    """Runs of one configuration, or what they were judged beside. `records`: tables with a matrix and a summary."""

    name: str
    records: Sequence[Mapping[str, Any]]

    @property
    def matrix(self) -> list[list[float | None]]:
        """The mean of the runs' matrices, None where one of them has no score."""
        matrices = [record["matrix"] for record in self.records]
        stages = min(map(len, matrices))
        return [[_mean([each[i][j] for each in matrices]) for j in range(len(matrices[0][i]))] for i in range(stages)]

    def figure(self, name: str) -> list[float]:
        """Return a figure of the summary of every run that has it."""
        found = [(record["summary"] or {}).get(name) for record in self.records]
        return [each for each in found if each is not None]


@dataclass(frozen=True)
class Comparison:
    """Groups over the same stages. `metric`: what the scores are."""

    stages: list[str]
    metric: str
    greater_is_better: bool
    groups: list[Group]

    def table(self) -> list[list[str]]:
        """Return a header and a row a group: the figures of its summary, mean and standard deviation over its runs."""
        shown = [name for name in FIGURES if any(group.figure(name) for group in self.groups)]
        table = [["run", "runs", *(name.replace("_", " ") for name in shown)]]
        for group in self.groups:
            cells = [spread(group.figure(name)) for name in shown]
            table.append([group.name, str(len(group.records)), *cells])
        return table

    def matrix_table(self, group: Group) -> list[list[str]]:
        """Return a header and a row a stage: what is known of every stage once that one is learnt."""
        rows = [[self.stages[i], *(number(score) for score in row)] for i, row in enumerate(group.matrix)]
        return [["after", *self.stages], *rows]


def compare(runs: Sequence[Path]) -> Comparison:
    """Return what the runs in these folders kept of their stages; prototypes of theirs stand last.

    Raises DataError for a folder without continual.json, or a harmed one, and for runs of different stages.
    """
    records = [read_record(run) for run in runs]
    given = [_given(run) for run in runs]
    stages = [[stage["name"] for stage in record["stages"]] for record in records]
    for run, own, record in zip(runs, stages, records, strict=True):
        if (own, record["metric"]) != (stages[0], records[0]["metric"]):
            raise DataError(
                f"{run} has stages {', '.join(own)} judged by {record['metric']}, and {runs[0]} has "
                f"{', '.join(stages[0])} judged by {records[0]['metric']}; compare runs of the same stages"
            )
    alike: dict[str, list[int]] = {}
    for at, each in enumerate(given):
        alike.setdefault(json.dumps(_without_seed(each), sort_keys=True), []).append(at)
    names = _names([given[own[0]] for own in alike.values()])
    groups = [Group(name, [records[at] for at in own]) for name, own in zip(names, alike.values(), strict=True)]
    beside = dict.fromkeys(name for record in records for name in record["baselines"])
    for name in beside:
        groups.append(Group(name, [each["baselines"][name] for each in records if name in each["baselines"]]))
    return Comparison(stages[0], records[0]["metric"], records[0]["greater_is_better"], groups)


def read_record(run: Path) -> dict[str, Any]:
    """Return the content of continual.json. Raises DataError where there is none, or it is harmed."""
    path = run / FILE
    if not path.is_file():
        is_run = (run / "run.json").is_file()
        why = "it is no run in stages, or ended in its first" if is_run else "there is no such run"
        raise DataError(f"{path} is not there: {why}; give the folder of a run whose configuration has `stages`")
    try:
        found = json_object(path)
        for key in ("stages", "metric", "greater_is_better", "matrix", "summary", "baselines"):
            found[key]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is harmed ({error!r}); train the run again") from error
    return found


def spread(values: Sequence[float]) -> str:
    """Return the mean, and the standard deviation where there are several."""
    if not values:
        return "-"
    mean = number(statistics.mean(values))
    return f"{mean} ± {number(statistics.stdev(values))}" if len(values) > 1 else mean


def _given(run: Path) -> dict[str, Any]:
    """Return the configuration that a run was begun with; of one that does not say, nothing."""
    try:
        info = json_object(run / "run.json")
    except (OSError, ValueError) as error:
        raise DataError(f"{run / 'run.json'} cannot be read ({error}); give the folder of a run") from error
    found = info.get("given")
    return found if isinstance(found, dict) else {}


def _without_seed(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {name: each for name, each in value.items() if name not in _NEITHER[key]}
        if key in _NEITHER and isinstance(value, dict)
        else value
        for key, value in given.items()
    }


def _names(given: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what tells configurations apart: their projects' names, else the settings in which they differ."""
    projects = [str(each.get("project_name") or "run") for each in given]
    if len(set(projects)) == len(projects):
        return projects
    flat = [dict(_leaves(_without_seed(each))) for each in given]
    keys = dict.fromkeys(key for each in flat for key in each)
    differing = [key for key in keys if len({json.dumps(each.get(key), sort_keys=True) for each in flat}) > 1]
    return [
        ", ".join([f"{key} {as_text(each[key])}" for key in differing if each.get(key) is not None][:_SHOWN]) or project
        for each, project in zip(flat, projects, strict=True)
    ]


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        return [(path, value)]
    return [leaf for key, below in value.items() for leaf in _leaves(below, f"{path}.{key}".removeprefix("."))]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
