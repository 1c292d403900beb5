"""report.html: one file that shows a run, with nothing loaded from elsewhere.

The page is built as a tree, so every text is escaped by the writer; labels come from data and may hold markup.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

from jenga.extras import command, is_here
from jenga.files import write_atomic
from jenga.imports import collector_at_rest
from jenga.labels import kind_named
from jenga.report import detection_plots, plots
from jenga.report.card import RunFiles, as_text, closing_table, notes, read_run
from jenga.report.certainty import certainty_table, interval_words
from jenga.report.figures import number
from jenga.report.page import node, table, written
from jenga.report.sentinel import sentinel_section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_OPEN_HEADS = 3
WIDE_INCHES = 7


def write_report(run: Path) -> Path:
    """Write report.html into a run folder and return its path; what the run did not get to is named as missing.

    Raises DataError when `run` is no run folder or a file in it is damaged.
    """
    files = read_run(run)
    with collector_at_rest():
        # Pictures import what draws them.
        body = [*_summary(files), *_results(files), *_curves(files), *sentinel_section(run), *_heads(files, run)]
        body += _setup(files)
    path = run / "report.html"
    write_atomic(path, written(f"{files.project} - Jenga report", body))
    return path


# ------------------------------------------------------------------------------------------------------------ sections


def _summary(files: RunFiles) -> list[Element]:
    run = files.run
    facts = [("created", run.get("created", "unknown"))]
    facts += [(f"{split} rows", f"{rows:,}") for split, rows in run.get("rows", {}).items()]
    if "parameters" in run:
        facts.append(("parameters", f"{run['parameters']:,}"))
    if "seconds" in run:
        facts.append(("time", f"{run['seconds']:,.0f} s"))
    if files.evaluation:
        facts.append(files.step)
    line = " · ".join(f"{name}: {value}" for name, value in facts)
    problems = [node("li", str(warning)) for warning in run.get("warnings", [])]
    return [
        node("h1", files.project),
        node("p", line),
        *([node("ul", *problems, attributes={"class": "warn"})] if problems else []),
    ]


def _results(files: RunFiles) -> list[Element]:
    if not files.splits:
        return [node("h2", "Results"), node("p", "The run ended before its evaluation.")]
    parts = []
    for split, result in files.splits.items():
        parts.append(node("h2", f"Results on {split} ({result['rows']:,} rows)"))
        parts.append(table(closing_table(files.evaluation, split)))
        if certain := certainty_table(files.evaluation, split):
            parts.append(table(certain))
    return parts


def _curves(files: RunFiles) -> list[Element]:
    parts = [node("h2", "Training")]
    if not is_here("matplotlib"):
        absent = f"This page has no plots: matplotlib is not installed where it was made ({command('report')})."
        return [*parts, node("p", absent, attributes={"class": "warn"})]
    if any(record["event"] == "train" for record in files.records):
        parts.append(_picture(plots.loss_curves(files.records), "loss over optimizer steps"))
        parts.append(_picture(plots.learning_rates(files.records), "learning rate over optimizer steps"))
        gradients = plots.task_gradients(files.records)
        if gradients is not None:
            parts.append(_picture(gradients, "gradients and weights of tasks over optimizer steps"))
    else:
        parts.append(node("p", "No training step was recorded."))
    heads = [(head["task"], head["head"], head["primary_metric"]) for head in files.heads]
    if heads and any(record["event"] == "eval" for record in files.records):
        parts.append(_picture(plots.metric_curves(files.records, heads), "validation metrics over optimizer steps"))
    return parts


def _heads(files: RunFiles, run: Path) -> list[Element]:
    if not files.splits:
        return []
    parts = [node("h2", f"Heads on {next(iter(files.splits))}")]
    for head in files.heads:
        labelled = "" if kind_named(head["kind"]).from_text else "labelled "
        title = f"{head['task']} / {head['head']} ({head['kind']}, {head['rows']:,} {labelled}rows)"
        content = [node("summary", title)]
        content += [node("p", note, attributes={"class": "warn"}) for note in notes(head)]
        content += _metric_table(head) + _head_details(head) + _worst(head["details"].get("worst"), run)
        opened = {"open": "open"} if len(files.heads) <= MAX_OPEN_HEADS else {}
        parts.append(node("details", *content, attributes=opened))
    return parts


def _metric_table(head: Mapping[str, Any]) -> list[Element]:
    columns = {"ours": head["metrics"], **head["baselines"]}
    names = dict.fromkeys(name for metrics in columns.values() for name in metrics)
    if not names:
        return []
    rows = [[name, *(number(metrics.get(name)) for metrics in columns.values())] for name in names]
    header = ["metric", *columns]
    if head.get("intervals"):
        header.insert(2, "95%")
        rows = [[name, ours, interval_words(head, name), *others] for name, ours, *others in rows]
    return [table([header, *rows])]


def _head_details(head: Mapping[str, Any]) -> list[Element]:
    details, name = head["details"], f"{head['task']} / {head['head']}"
    drawn = is_here("matplotlib")
    per_label = details.get("per_label", [])
    parts = _detection(details["detection"], name) if "detection" in details else []
    if drawn and "confusion" in details:
        parts.append(_picture(plots.confusion(details["confusion"], head["labels"]), f"confusion of {name}"))
    if drawn and per_label and "f1" in per_label[0]:
        parts.append(_picture(plots.per_label_bars(per_label), f"F1 of each label of {name}"))
    for row in per_label:
        if drawn and "points" in row:
            parts.append(_picture(plots.number_scatter(row["points"], row["label"]), f"{row['label']} of {name}"))
    if per_label:
        columns = [column for column in per_label[0] if column != "points"]
        rows = [[_cell(row[column]) for column in columns] for row in per_label]
        parts.append(table([[column.replace("_", " ") for column in columns], *rows]))
    return parts + _answers(details.get("answers", []))


def _worst(worst: Mapping[str, Any] | None, run: Path) -> list[Element]:
    """Return the rows with the worst answers, with what stands in them; their pictures lie in the folder `run`."""
    if worst is None or not worst["rows"]:
        return []
    right = {"class": "number"}
    header = [node("th", name) for name in ("row", "what it holds", "expected", "answer")]
    lines = []
    for row in worst["rows"]:
        held = node("td", row["text"], attributes={"class": "held"})
        held.extend(_image(path, row["id"]) for name in row["pictures"] if (path := run / name).is_file())
        cells = [node("td", row["id"]), held, node("td", row["expected"]), node("td", row["answer"])]
        lines.append(node("tr", *cells, node("td", number(row["error"]), attributes=right)))
    head = node("thead", node("tr", *header, node("th", worst["error"], attributes=right)))
    drawn = node("div", node("table", head, node("tbody", *lines)), attributes={"class": "scroll"})
    return [node("details", node("summary", f"Worst errors ({len(lines)})"), drawn)]


def _answers(answers: Sequence[Mapping[str, Any]]) -> list[Element]:
    """Return answers in words, row by row, beside what the row says."""
    parts = []
    for row in answers:
        verdict = "" if "match" not in row else ": as expected" if row["match"] else ": not as expected"
        verdict = f": {row['verdict']}" if "verdict" in row else verdict
        said = row["answer"] or row.get("error") or "(nothing)"
        texts = (("prompt", row.get("prompt")), ("expected", row["expected"]), ("answer", said))
        cells = [node("tr", node("th", name), node("td", node("pre", text))) for name, text in texts if text]
        parts += [node("h4", f"{row['id']}{verdict}"), node("table", node("tbody", *cells))]
    return [node("h3", "Answers"), *parts] if parts else []


def _detection(found: Mapping[str, Any], name: str) -> list[Element]:
    parts = [node("p", sentence) for sentence in detection_plots.sentences(found)]
    for title, draw in detection_plots.FIGURES.items() if is_here("matplotlib") else ():
        figure = draw(found)
        if figure is not None:
            parts.append(_picture(figure, f"{title} of {name}"))
    return parts


def _setup(files: RunFiles) -> list[Element]:
    environment = [[name, value] for name, value in _flat(files.environment)]
    return [
        node("h2", "Configuration"),
        node("details", node("summary", "config.yml"), node("pre", files.config_text)),
        node("h2", "Environment"),
        table([["what", "value"], *environment]) if environment else node("p", "environment.json is missing."),
    ]


# ------------------------------------------------------------------------------------------------------------ elements


def _cell(value: Any) -> str:
    return number(value) if value is None or isinstance(value, float) else f"{value}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", as_text(value)))
    return found


def _image(path: Path, description: str) -> Element:
    source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    return node("img", attributes={"src": source, "alt": description})


def _picture(figure: Figure, description: str) -> Element:
    """Return the figure as an SVG image: an image runs no scripts, and its ids cannot clash with another figure's."""
    import matplotlib

    content = io.BytesIO()
    # Text stays text, so the file is small and the browser's fonts draw what matplotlib's lack.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="svg", metadata={"Date": None})
    wide = {"class": "wide"} if figure.get_figwidth() > WIDE_INCHES else {}
    source = "data:image/svg+xml;base64," + base64.b64encode(content.getvalue()).decode("ascii")
    return node("figure", node("img", attributes={"src": source, "alt": description, **wide}))
