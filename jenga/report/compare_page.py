"""The page of `jenga runs compare`: one file, with nothing loaded from elsewhere."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from jenga.report import plots
from jenga.report.compare import Line, RunComparison, change_words, pair_words, settings_table
from jenga.report.draw import Plot, colour
from jenga.report.page import Cell, anchored, contents, node, of_class, table, written
from jenga.report.runs import shown_time
from jenga.tables import number


def comparison_page(found: RunComparison) -> str:
    """Return the page as HTML."""
    body = [*_runs(found), *_settings(found), *_metrics(found), *_curves(found)]
    title = f"{len(found.names)} runs compared"
    note = "" if found.same_rows else (
        "The runs were not trained and judged on the same rows, so their figures differ by these too, and rows cannot "
        "be compared one by one."
    )  # fmt: skip
    top = [node("h1", title), *([of_class("warn", "p", note)] if note else []), contents(body)]
    return written(title, [*top, *body])


def _runs(found: RunComparison) -> list[Element]:
    rows: list[list[Cell]] = [["run", "created", "status", "best step", "rows", "parameters", "seconds"]]
    for name, files in zip(found.names, found.files, strict=True):
        run = files.run
        counts = (run.get("best_step"), (run.get("rows") or {}).get("train"), run.get("parameters"))
        figures = ["-" if each is None else f"{each:,}" for each in counts]
        seconds = "-" if "seconds" not in run else f"{run['seconds']:,.1f}"
        rows.append([name, shown_time(run.get("created")), str(run.get("status", "-")), *figures, seconds])
    return [anchored("runs", "Runs"), table(rows)]


def _settings(found: RunComparison) -> list[Element]:
    heading = anchored("settings", "Settings that differ")
    return [heading, table(settings_table(found)) if found.settings else node("p", "None.")]


def _metrics(found: RunComparison) -> list[Element]:
    parts = [anchored("metrics", "Metrics")]
    paired_too = any(pair is not None for line in found.lines for pair in line.pairs)
    if paired_too:
        parts.append(node(
            "p", "Rows apart: rows that the first run alone answers rightly, and the other one alone, with the p of "
            "McNemar's exact test.",
        ))  # fmt: skip
    for split in dict.fromkeys(line.split for line in found.lines):
        header: list[Cell] = ["task", "head", "metric", found.names[0]]
        for name in found.names[1:]:
            header += [name, "change", *(["rows apart"] if paired_too else [])]
        rows = [header]
        for line in found.lines:
            if line.split == split:
                rows.append(_line(line, len(found.names), paired_too=paired_too))
        parts += [node("h3", f"On {split}"), table(rows)]
    return parts


def _line(line: Line, runs: int, *, paired_too: bool) -> list[Cell]:
    cells: list[Cell] = [line.task or "all", line.head or "-", line.metric, number(line.values[0])]
    for at in range(1, runs):
        first, other = line.values[0], line.values[at]
        change = "" if first is None or other is None else f"{other - first:.6g}"
        cells.append(number(other))
        cells.append(node("td", change_words(line, at), attributes={"class": line.verdict(at), "data-value": change}))
        cells += [pair_words(line, at)] if paired_too else []
    return cells


def _curves(found: RunComparison) -> list[Element]:
    """Return the loss of each run over steps, and the primary metric of each head."""
    records = [files.records for files in found.files]
    if not any(records):
        return []
    drawn = [_curve("Loss of training", "loss", found, [plots.series(each, "train", "loss") for each in records])]
    for line in dict.fromkeys((each.task, each.head) for each in found.lines if each.task):
        metric = next(each.metric for each in found.lines if (each.task, each.head) == line)
        key = f"eval_{line[0]}_{line[1]}_{metric}"
        curves = [plots.series(each, "eval", key) for each in records]
        if any(len(steps) for steps, _ in curves):
            drawn.append(_curve(f"{line[0]} / {line[1]}: on the validation rows", metric, found, curves))
    return [anchored("curves", "Curves"), of_class("figures", "div", *drawn)]


def _curve(title: str, y: str, found: RunComparison, curves: list[plots.Series]) -> Element:
    plot = Plot(title, "optimizer step", y)
    for at, (name, (steps, values)) in enumerate(zip(found.names, curves, strict=True)):
        plot.line(*plots.thinned(steps, plots.smoothed(values) if y == "loss" else values), style=colour(at), name=name)
        if y != "loss":
            plot.dots(*plots.thinned(steps, values), style=colour(at))
    return plot.drawn()
