"""Several runs side by side: in what their configurations differ, and how well each does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jenga.errors import DataError, redacted
from jenga.report.card import RunFiles, as_text, read_run
from jenga.report.errors import Paired, paired, read_errors
from jenga.tables import NONE, number

_APART = ("tracking", "output_dir", "project_name")
"""Settings that say where a run is told of, and not what it is."""
_EVEN = 5e-4
"""Differences that three decimals do not show."""
Value = float | None


@dataclass(frozen=True)
class Line:
    """One metric of one head, or of all of them together (``task`` is ""), by run.

    `greater_is_better`: None where nobody says. `pairs`: of the first run and each other one, of a primary metric.
    """

    split: str
    task: str
    head: str
    metric: str
    greater_is_better: bool | None
    values: tuple[Value, ...]
    pairs: tuple[Paired | None, ...] = ()

    def verdict(self, at: int) -> str:
        """Return whether a run is ``better`` or ``worse`` than the first; "" where neither, or it cannot be told."""
        first, other = self.values[0], self.values[at]
        if not at or first is None or other is None or self.greater_is_better is None or abs(other - first) < _EVEN:
            return ""
        return "better" if (other > first) == self.greater_is_better else "worse"


@dataclass(frozen=True)
class RunComparison:
    """Runs by their names, the settings in which they differ, as text by run, and their metrics."""

    names: tuple[str, ...]
    files: tuple[RunFiles, ...]
    settings: Mapping[str, tuple[str, ...]]
    lines: tuple[Line, ...]
    same_rows: bool

    def as_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        metrics = [
            {
                "split": line.split, "task": line.task, "head": line.head, "metric": line.metric,
                "greater_is_better": line.greater_is_better, "values": dict(zip(self.names, line.values, strict=True)),
                "verdicts": {name: line.verdict(at) for at, name in enumerate(self.names) if at},
                "paired": {
                    name: None if pair is None else {"first": pair.first, "second": pair.second, "p": pair.p}
                    for name, pair in zip(self.names[1:], line.pairs, strict=False)
                },
            }
            for line in self.lines
        ]  # fmt: skip
        settings = {key: dict(zip(self.names, values, strict=True)) for key, values in self.settings.items()}
        return {"runs": list(self.names), "same_rows": self.same_rows, "settings": settings, "metrics": metrics}


def compare_runs(runs: Sequence[Path]) -> RunComparison:
    """Return the runs beside the first of them. Raises DataError where one is no run, or there are fewer than two."""
    if len(runs) < 2:
        raise DataError("runs compare: one run alone has nothing to be compared with; give two or more")
    files = tuple(map(read_run, runs))
    prints = [(each.run.get("fingerprint") or {}).get("splits") for each in files]
    same = prints[0] is not None and all(each == prints[0] for each in prints)
    errors = [read_errors(run) for run in runs] if same else []
    return RunComparison(_names(runs), files, _settings(files), tuple(_lines(files, errors)), same)


def _names(runs: Sequence[Path]) -> tuple[str, ...]:
    """Return the shortest ends of the paths that tell them apart."""
    parts = [run.resolve().parts for run in runs]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return tuple(names)
    raise DataError("runs compare: a run is given twice; give each once")


def _settings(files: Sequence[RunFiles]) -> dict[str, tuple[str, ...]]:
    flat = [_flat({name: block for name, block in each.config.items() if name not in _APART}) for each in files]
    keys = dict.fromkeys(key for each in flat for key in each)
    found = {key: tuple(each.get(key, NONE) for each in flat) for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return the settings in a block by their dotted names; of a list, by the names of its parts or their places.

    Passwords in addresses are hidden: what compares runs is passed around.
    """
    inner: dict[str, Any]
    if isinstance(value, Mapping) and value:
        inner = {f".{name}": each for name, each in value.items()}
    elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        inner = {f"[{each.get('name', at)}]": each for at, each in enumerate(value)}
    else:
        return {prefix.removeprefix("."): redacted(as_text(value))}
    return {key: text for name, each in inner.items() for key, text in _flat(each, prefix + name).items()}


def _lines(files: Sequence[RunFiles], errors: Sequence[Mapping[str, Any]]) -> list[Line]:
    lines = []
    for split in dict.fromkeys(split for each in files for split in each.splits):
        results = [each.splits.get(split, {"metrics": {}, "heads": []}) for each in files]
        losses = tuple(result["metrics"].get("loss") for result in results)
        lines.append(Line(split, "", "", "loss", False, losses))
        heads = [{(head["task"], head["head"]): head for head in result["heads"]} for result in results]
        for key in dict.fromkeys(key for each in heads for key in each):
            own = [each.get(key) for each in heads]
            lines += _head_lines(split, key, own, [_rows(each, split, key) for each in errors])
    return lines


def _rows(errors: Mapping[str, Any], split: str, key: tuple[str, str]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = errors.get(split, {}).get(key[0], {}).get(key[1])
    return found


def _head_lines(
    split: str, key: tuple[str, str], heads: Sequence[Mapping[str, Any] | None],
    errors: Sequence[Mapping[str, Any] | None],
) -> list[Line]:  # fmt: skip
    there = [head for head in heads if head is not None]
    first = there[0]["primary_metric"]
    names = dict.fromkeys([first, *(name for head in there for name in head["metrics"])])
    known = {first: there[0]["greater_is_better"], **there[0].get("directions", {})}
    pairs = tuple(
        None if errors[0] is None or other is None else paired(errors[0], other) for other in errors[1:]
    )  # fmt: skip
    return [
        Line(
            split, *key, name, known.get(name),
            tuple(None if head is None else head["metrics"].get(name) for head in heads),
            pairs if name == first else (),
        )
        for name in names
    ]  # fmt: skip


def settings_table(found: RunComparison) -> list[list[str]]:
    """Return a header and a row for each setting in which the runs differ."""
    return [["setting", *found.names], *([key, *values] for key, values in found.settings.items())]


def metrics_table(found: RunComparison, *, everything: bool = False) -> list[list[str]]:
    """Return a header and a row for each metric, those of the others with what they are beside the first run.

    everything: all metrics of a head, not the one that stands for it.
    """
    paired_too = any(pair is not None for line in found.lines for pair in line.pairs)
    others = found.names[1:]
    header = ["split", "task", "head", "metric", found.names[0]]
    for name in others:
        header += [name, "change", *(["only first right / only this right (p)"] if paired_too else [])]
    table = [header]
    for line in shown_lines(found, everything=everything):
        row = [line.split, line.task or "all", line.head or NONE, line.metric, number(line.values[0])]
        for at in range(1, len(found.names)):
            row += [number(line.values[at]), change_words(line, at), *([pair_words(line, at)] if paired_too else [])]
        table.append(row)
    return table


def shown_lines(found: RunComparison, *, everything: bool) -> list[Line]:
    """Return the lines of a table; see `metrics_table`."""
    seen: set[tuple[str, str, str]] = set()
    lines = []
    for line in found.lines:
        key = line.split, line.task, line.head
        if everything or key not in seen:
            lines.append(line)
        seen.add(key)
    return lines


def change_words(line: Line, at: int) -> str:
    """Return by how much a run differs from the first, with whether that is better."""
    first, other = line.values[0], line.values[at]
    if first is None or other is None:
        return NONE
    return f"{other - first:+.3f} {line.verdict(at)}".rstrip()


def pair_words(line: Line, at: int) -> str:
    """Return how many rows only one of two runs answers rightly."""
    pair = line.pairs[at - 1] if at <= len(line.pairs) else None
    return NONE if pair is None else f"{pair.first:,} / {pair.second:,} ({pair.p:.2g})"
