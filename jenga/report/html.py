"""report.html: one file that shows a run, with nothing loaded from elsewhere.

The page is built as a tree, so every text is escaped by the writer; labels come from data and may hold markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from jenga.errors import DataError
from jenga.files import write_atomic
from jenga.report import plots
from jenga.report.card import RunFiles, as_text, closing_table, read_run
from jenga.report.certainty import certainty_table
from jenga.report.heads import heads_section
from jenga.report.page import anchored, contents, facts, node, of_class, table, written
from jenga.report.sentinel import sentinel_section

MAX_SET_ASIDE = 50
"""Rows that could not be used, of those that a report shows; quarantine.jsonl has all of them."""
_ROW_LENGTH = 300


def write_report(run: Path) -> Path:
    """Write report.html into a run folder and return its path; what the run did not get to is named as missing.

    Raises DataError when `run` is no run folder or a file in it is damaged.
    """
    files = read_run(run)
    body = [*_results(files), *_training(files), *_data(files), *_set_aside(files, run)]
    body += [*sentinel_section(run), *heads_section(files, run), *_setup(files)]
    top = [*_summary(files), contents(body)]
    path = run / "report.html"
    write_atomic(path, written(f"{files.project} - Jenga report", [*top, *body]))
    return path


# ------------------------------------------------------------------------------------------------------------ sections


def _summary(files: RunFiles) -> list[Element]:
    run = files.run
    known = [("created", str(run.get("created", "unknown")).partition(".")[0].replace("T", " "))]
    known += [(f"{split} rows", f"{rows:,}") for split, rows in run.get("rows", {}).items()]
    if "parameters" in run:
        known.append(("parameters", f"{run['parameters']:,}"))
    if "seconds" in run:
        known.append(("time", f"{run['seconds']:,.0f} s"))
    if files.evaluation:
        known.append(files.step)
    problems = [node("li", str(warning)) for warning in run.get("warnings", [])]
    return [
        node("h1", files.project),
        facts(known),
        *([of_class("warn", "ul", *problems)] if problems else []),
    ]


def _results(files: RunFiles) -> list[Element]:
    if not files.splits:
        return [anchored("results", "Results"), node("p", "The run ended before its evaluation.")]
    parts = [anchored("results", "Results")]
    for split, result in files.splits.items():
        parts.append(node("h3", f"On {split} ({result['rows']:,} rows)"))
        parts.append(table(closing_table(files.evaluation, split)))
        if certain := certainty_table(files.evaluation, split):
            parts.append(table(certain))
    return parts


def _training(files: RunFiles) -> list[Element]:
    parts = [anchored("training", "Training")]
    train = plots.of_event(files.records, "train")
    if not train:
        return [*parts, node("p", "No training step was recorded.")]
    drawn = plots.loss_curves(files.records)
    heads = [(head["task"], head["head"], head["primary_metric"]) for head in files.heads]
    if heads and plots.of_event(files.records, "eval"):
        drawn += plots.metric_curves(files.records, heads)
    drawn.append(plots.learning_rates(files.records))
    norm = plots.gradient_norm(files.records)
    drawn += [*([] if norm is None else [norm]), *plots.task_gradients(files.records)]
    return [*parts, *_pace(train, files), of_class("figures", "div", *drawn)]


def _pace(train: list[Mapping[str, Any]], files: RunFiles) -> list[Element]:
    """Return how fast the steps went, evaluations and checkpoints between them included."""
    last = train[-1]
    seconds = float(files.run.get("seconds", last.get("time_s", 0)))
    if not seconds:
        return []
    known = [("steps", f"{last['step']:,}"), ("steps a second", f"{last['step'] / seconds:,.1f}")]
    if "rows" in last:
        known.append(("rows a second", f"{last['rows'] / seconds:,.0f}"))
    return [facts([*known, ("seconds of training", f"{seconds:,.1f}")])]


def _data(files: RunFiles) -> list[Element]:
    found = files.run.get("statistics")
    if not found:
        return []
    parts = [anchored("data", "Data")]
    columns = ["source", "split", "rows", "unit", "min", "median", "p95", "max", "cut"]
    lengths = [[_figure(line[column]) for column in columns] for line in found["lengths"]]
    parts += [node("h3", "How long rows are"), table([columns, *lengths])]
    if found["labels"]:
        splits = list(dict.fromkeys(split for line in found["labels"] for split in line["counts"]))
        rows = [
            [line["task"], line["head"], line["label"], *(_figure(line["counts"].get(split)) for split in splits)]
            for line in found["labels"]
        ]
        drawn = table([["task", "head", "label", *splits], *rows])
        parts.append(node("details", node("summary", f"How often labels occur ({len(rows):,})"), drawn))
    return parts


def _set_aside(files: RunFiles, run: Path) -> list[Element]:
    """Return the first rows that could not be used, with why; with what they hold where the report shows rows."""
    path = run / "quarantine.jsonl"
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8") as lines:
            shown = [json.loads(line) for line in islice(lines, MAX_SET_ASIDE)]
    except ValueError as error:
        raise DataError(f"{path}: a line is not JSON ({error}); restore it from a copy, or delete the file") from None
    count = int(files.run.get("set_aside", len(shown)))
    held = files.config.get("evaluation", {}).get("worst_errors") != 0
    rows = [
        [
            f"{Path(str(line['file'])).name}:{line['row']}", str(line["reason"]),
            str(line["raw"])[:_ROW_LENGTH] if held else "(evaluation.worst_errors: 0)",
        ]
        for line in shown
    ]  # fmt: skip
    some = f", the first {len(shown):,}" if len(shown) < count else ""
    drawn = table([["row", "why", "what it holds"], *rows])
    return [node("details", node("summary", f"Rows that could not be used ({count:,}{some})"), drawn)]


def _setup(files: RunFiles) -> list[Element]:
    environment = [[name, value] for name, value in _flat(files.environment)]
    return [
        anchored("configuration", "Configuration"),
        node("details", node("summary", "config.yml"), node("pre", files.config_text)),
        anchored("environment", "Environment"),
        table([["what", "value"], *environment]) if environment else node("p", "environment.json is missing."),
    ]


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", as_text(value)))
    return found
