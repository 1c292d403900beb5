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
from xml.etree.ElementTree import Element, tostring

from jenga.files import write_atomic
from jenga.imports import collector_at_rest
from jenga.labels import kind_named
from jenga.report import detection_plots, plots
from jenga.report.card import RunFiles, as_text, closing_table, encodable, notes, number, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_OPEN_HEADS = 3
WIDE_INCHES = 7
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #f4f6f8; --warn: #9a3412; --text: #1f2328; --page: #fff }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #1c2128; --warn: #fdba74; --text: #e6edf3; --page: #0d1117 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 75rem; margin: 0 auto; padding: 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2rem; border-bottom: 1px solid var(--line) }
.scroll { overflow-x: auto } .warn { color: var(--warn) }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; max-width: 28rem }
td { overflow-wrap: break-word } th { background: var(--soft); white-space: nowrap }
.held { white-space: pre-line; min-width: 12rem } .held img { min-width: 4rem }
.number { text-align: right; white-space: nowrap }
figure { display: inline-block; margin: .5rem .5rem .5rem 0; max-width: 100%; vertical-align: top; overflow-x: auto }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px }
img.wide { max-width: max(100%, 45rem) } td:last-child { min-width: 6rem }
details { border: 1px solid var(--line); border-radius: 6px; padding: .4rem .8rem; margin: .6rem 0 }
summary { cursor: pointer; font-weight: 600 }
pre { overflow-x: auto; background: var(--soft); padding: .8rem; border-radius: 6px }
"""


def write_report(run: Path) -> Path:
    """Write report.html into a run folder and return its path; what the run did not get to is named as missing.

    Raises DataError when `run` is no run folder or a file in it is damaged.
    """
    files = read_run(run)
    with collector_at_rest():
        # Pictures import what draws them.
        body = [*_summary(files), *_results(files), *_curves(files), *_heads(files, run), *_setup(files)]
    page = _page(files.project, body)
    path = run / "report.html"
    write_atomic(path, encodable("<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"))
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
    problems = [_node("li", str(warning)) for warning in run.get("warnings", [])]
    return [
        _node("h1", files.project),
        _node("p", line),
        *([_node("ul", *problems, attributes={"class": "warn"})] if problems else []),
    ]


def _results(files: RunFiles) -> list[Element]:
    if not files.splits:
        return [_node("h2", "Results"), _node("p", "The run ended before its evaluation.")]
    parts = []
    for split, result in files.splits.items():
        parts.append(_node("h2", f"Results on {split} ({result['rows']:,} rows)"))
        parts.append(_table(closing_table(files.evaluation, split)))
    return parts


def _curves(files: RunFiles) -> list[Element]:
    parts = [_node("h2", "Training")]
    if any(record["event"] == "train" for record in files.records):
        parts.append(_picture(plots.loss_curves(files.records), "loss over optimizer steps"))
        parts.append(_picture(plots.learning_rates(files.records), "learning rate over optimizer steps"))
        gradients = plots.task_gradients(files.records)
        if gradients is not None:
            parts.append(_picture(gradients, "gradients and weights of tasks over optimizer steps"))
    else:
        parts.append(_node("p", "No training step was recorded."))
    heads = [(head["task"], head["head"], head["primary_metric"]) for head in files.heads]
    if heads and any(record["event"] == "eval" for record in files.records):
        parts.append(_picture(plots.metric_curves(files.records, heads), "validation metrics over optimizer steps"))
    return parts


def _heads(files: RunFiles, run: Path) -> list[Element]:
    if not files.splits:
        return []
    parts = [_node("h2", f"Heads on {next(iter(files.splits))}")]
    for head in files.heads:
        labelled = "" if kind_named(head["kind"]).from_text else "labelled "
        title = f"{head['task']} / {head['head']} ({head['kind']}, {head['rows']:,} {labelled}rows)"
        content = [_node("summary", title)]
        content += [_node("p", note, attributes={"class": "warn"}) for note in notes(head)]
        content += _metric_table(head) + _head_details(head) + _worst(head["details"].get("worst"), run)
        opened = {"open": "open"} if len(files.heads) <= MAX_OPEN_HEADS else {}
        parts.append(_node("details", *content, attributes=opened))
    return parts


def _metric_table(head: Mapping[str, Any]) -> list[Element]:
    columns = {"ours": head["metrics"], **head["baselines"]}
    names = dict.fromkeys(name for metrics in columns.values() for name in metrics)
    if not names:
        return []
    rows = [[name, *(number(metrics.get(name)) for metrics in columns.values())] for name in names]
    return [_table([["metric", *columns], *rows])]


def _head_details(head: Mapping[str, Any]) -> list[Element]:
    details, name = head["details"], f"{head['task']} / {head['head']}"
    table = details.get("per_label", [])
    parts = _detection(details["detection"], name) if "detection" in details else []
    if "confusion" in details:
        parts.append(_picture(plots.confusion(details["confusion"], head["labels"]), f"confusion of {name}"))
    if table and "f1" in table[0]:
        parts.append(_picture(plots.per_label_bars(table), f"F1 of each label of {name}"))
    for row in table:
        if "points" in row:
            parts.append(_picture(plots.number_scatter(row["points"], row["label"]), f"{row['label']} of {name}"))
    if table:
        columns = [column for column in table[0] if column != "points"]
        rows = [[_cell(row[column]) for column in columns] for row in table]
        parts.append(_table([[column.replace("_", " ") for column in columns], *rows]))
    return parts + _answers(details.get("answers", []))


def _worst(worst: Mapping[str, Any] | None, run: Path) -> list[Element]:
    """Return the rows with the worst answers, with what stands in them; their pictures lie in the folder `run`."""
    if worst is None or not worst["rows"]:
        return []
    right = {"class": "number"}
    header = [_node("th", name) for name in ("row", "what it holds", "expected", "answer")]
    lines = []
    for row in worst["rows"]:
        held = _node("td", row["text"], attributes={"class": "held"})
        held.extend(_image(path, row["id"]) for name in row["pictures"] if (path := run / name).is_file())
        cells = [_node("td", row["id"]), held, _node("td", row["expected"]), _node("td", row["answer"])]
        lines.append(_node("tr", *cells, _node("td", number(row["error"]), attributes=right)))
    head = _node("thead", _node("tr", *header, _node("th", worst["error"], attributes=right)))
    table = _node("div", _node("table", head, _node("tbody", *lines)), attributes={"class": "scroll"})
    return [_node("details", _node("summary", f"Worst errors ({len(lines)})"), table)]


def _answers(answers: Sequence[Mapping[str, Any]]) -> list[Element]:
    """Return answers in words, row by row, beside what the row says."""
    parts = []
    for row in answers:
        verdict = "" if "match" not in row else ": as expected" if row["match"] else ": not as expected"
        verdict = f": {row['verdict']}" if "verdict" in row else verdict
        said = row["answer"] or row.get("error") or "(nothing)"
        texts = (("prompt", row.get("prompt")), ("expected", row["expected"]), ("answer", said))
        cells = [_node("tr", _node("th", name), _node("td", _node("pre", text))) for name, text in texts if text]
        parts += [_node("h4", f"{row['id']}{verdict}"), _node("table", _node("tbody", *cells))]
    return [_node("h3", "Answers"), *parts] if parts else []


def _detection(found: Mapping[str, Any], name: str) -> list[Element]:
    parts = [_node("p", sentence) for sentence in detection_plots.sentences(found)]
    for title, draw in detection_plots.FIGURES.items():
        figure = draw(found)
        if figure is not None:
            parts.append(_picture(figure, f"{title} of {name}"))
    return parts


def _setup(files: RunFiles) -> list[Element]:
    environment = [[name, value] for name, value in _flat(files.environment)]
    return [
        _node("h2", "Configuration"),
        _node("details", _node("summary", "config.yml"), _node("pre", files.config_text)),
        _node("h2", "Environment"),
        _table([["what", "value"], *environment]) if environment else _node("p", "environment.json is missing."),
    ]


# ------------------------------------------------------------------------------------------------------------ elements


def _page(title: str, body: Sequence[Element]) -> Element:
    head = _node(
        "head",
        _node("meta", attributes={"charset": "utf-8"}),
        _node("meta", attributes={"http-equiv": "Content-Security-Policy", "content": POLICY}),
        _node("meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        _node("title", f"{title} - Jenga report"),
        _node("style", STYLE),
    )
    return _node("html", head, _node("body", *body), attributes={"lang": "en"})


def _node(tag: str, *children: Element | str, attributes: Mapping[str, str] | None = None) -> Element:
    element = Element(tag, dict(attributes or {}))
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        else:
            element.text = child
    return element


def _table(rows: Sequence[Sequence[str]]) -> Element:
    header, *body = rows
    numeric = [
        any(map(_is_number, column)) and all(_is_number(cell) or cell == "-" for cell in column)
        for _, *column in zip(*rows, strict=True)
    ]

    def line(tag: str, cells: Sequence[str]) -> Element:
        styles: list[dict[str, str]] = [{"class": "number"} if right else {} for right in numeric]
        return _node("tr", *(_node(tag, cell, attributes=style) for cell, style in zip(cells, styles, strict=True)))

    table = _node("table", _node("thead", line("th", header)), _node("tbody", *(line("td", cells) for cells in body)))
    return _node("div", table, attributes={"class": "scroll"})


def _is_number(cell: str) -> bool:
    return cell.lstrip("-").replace(",", "").replace(".", "", 1).isdigit()


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
    return _node("img", attributes={"src": source, "alt": description})


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
    return _node("figure", _node("img", attributes={"src": source, "alt": description, **wide}))
