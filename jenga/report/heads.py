"""What a report shows of each head: its figures, curves and tables, and the rows that it answers worst."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from jenga.labels import kind_named
from jenga.report import detection_plots, plots
from jenga.report.card import Head, RunFiles, notes
from jenga.report.certainty import interval_words
from jenga.report.page import anchored, node, of_class, table
from jenga.tables import number

MAX_OPEN_HEADS = 3
_BARS = ("precision", "recall", "f1")
Span = tuple[int, int, str]


def heads_section(files: RunFiles, run: Path) -> list[Element]:
    """Return a block a head, as judged on the test rows where there are any; pictures of rows lie in `run`."""
    if not files.splits:
        return []
    parts = [anchored("heads", f"Heads on {next(iter(files.splits))}")]
    for head in files.heads:
        labelled = "" if kind_named(head["kind"]).from_text else "labelled "
        title = f"{head['task']} / {head['head']} ({head['kind']}, {head['rows']:,} {labelled}rows)"
        details = head["details"]
        content = [node("summary", title)]
        content += [of_class("warn", "p", note) for note in notes(head)]
        content += [*_metrics(head), *_figures(head), *_labels(details), *_slices(details.get("slices", ()), head)]
        content += _answers(details.get("answers", []))
        content += _worst(details.get("worst"), run)
        opened = {"open": "open"} if len(files.heads) <= MAX_OPEN_HEADS else {}
        parts.append(node("details", *content, attributes=opened))
    return parts


def _metrics(head: Head) -> list[Element]:
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


def _figures(head: Head) -> list[Element]:
    details = head["details"]
    parts: list[Element] = []
    drawn: list[Element] = []
    if "detection" in details:
        parts += [node("p", sentence) for sentence in detection_plots.sentences(details["detection"])]
        drawn += detection_plots.figures(details["detection"])
    if "confusion" in details:
        parts += plots.confusion(details["confusion"], head["labels"])
    if "confused" in details:
        pairs = [(each["label"], each["predicted"], each["rows"]) for each in details["confused"]]
        lines = details["per_label"]
        parts += plots.confused(pairs, [line["label"] for line in lines], [line["support"] for line in lines])
    curves = details.get("curves")
    if curves:
        if curves["ranked"]:
            drawn += plots.ranked(curves["ranked"])
        drawn.append(plots.reliability(curves["reliability"]))
        shown, labels = len(curves["ranked"]), curves["labels"]
        if shown < labels:
            parts.append(node("p", f"Curves are of the {shown} most frequent of {labels} labels."))
    drawn += [
        plots.number_scatter(row["points"], row["label"]) for row in details.get("per_label", []) if "points" in row
    ]
    return [*parts, *([of_class("figures", "div", *drawn)] if drawn else [])]


def _labels(details: Mapping[str, Any]) -> list[Element]:
    lines = details.get("per_label", [])
    if not lines:
        return []
    columns = [column for column in lines[0] if column != "points"]
    rows = [[plots.bar(line[each]) if each in _BARS else _cell(line[each]) for each in columns] for line in lines]
    return [node("h4", "By label"), table([[column.replace("_", " ") for column in columns], *rows])]


def _slices(slices: Sequence[Mapping[str, Any]], head: Head) -> list[Element]:
    """Return how the head does on parts of the rows, and by how much each differs from all of them."""
    parts = []
    for each in slices:
        metric = head["primary_metric"]
        names = dict.fromkeys([metric, *(name for line in each["rows"] for name in line["metrics"])])
        rows = [
            [line["value"], f"{line['rows']:,}", _change(line["metrics"].get(metric), head),
             *(number(line["metrics"].get(name)) for name in names)]
            for line in each["rows"]
        ]  # fmt: skip
        parts += [node("h4", f"By {each['by']}"), table([[each["by"], "rows", "beside all rows", *names], *rows])]
    return parts


def _change(value: float | None, head: Head) -> Element:
    """Return by how much the primary metric differs from that over all rows, as better or worse."""
    whole, greater = head["metrics"].get(head["primary_metric"]), head["greater_is_better"]
    if value is None or whole is None:
        return node("td", "-")
    change = value - whole
    better = None if greater is None or abs(change) < 5e-4 else (change > 0) == greater
    style = "" if better is None else "better" if better else "worse"
    return node("td", f"{change:+.3f}", attributes={"class": style, "data-value": f"{change:.6g}"})


# --------------------------------------------------------------------------------------------------------------- rows


def _worst(worst: Mapping[str, Any] | None, run: Path) -> list[Element]:
    """Return the rows with the worst answers, with what stands in them."""
    if worst is None or not worst["rows"]:
        return []
    rows = []
    for row in worst["rows"]:
        spans = row.get("spans")
        text = weighted(row["text"], row.get("mattered", ()))
        if spans is not None:
            text = marked(row["text"], spans["expected"], spans["answer"])
        held = node("td", *text, attributes={"class": "held", "dir": "auto"})
        if row.get("attention"):
            looked = [of_class("faint", "small", "the fusion looks at"), "\n", *weighted(row["text"], row["attention"])]
            held.append(of_class("looked", "div", *looked))
        held.extend(_image(path, row["id"]) for name in row["pictures"] if (path := run / name).is_file())
        rows.append([row["id"], held, row["expected"], row["answer"], number(row["error"])])
    drawn = table([["row", "what it holds", "expected", "answer", worst["error"]], *rows])
    legend = [_legend()] if any("spans" in row for row in worst["rows"]) else []
    if any(row.get("mattered") for row in worst["rows"]):
        words = "Shaded: the tokens that speak most for the answer (gradient times input), the darker the more."
        legend.append(of_class("faint", "p", words))
    return [node("details", node("summary", f"Worst errors ({len(rows)})"), *legend, drawn)]


def _legend() -> Element:
    kinds = {
        "both": "found as labelled", "missed": "labelled, but not found", "extra": "found, but not labelled",
        "differs": "found otherwise than labelled",
    }  # fmt: skip
    parts: list[Element | str] = []
    for kind, words in kinds.items():
        parts += [of_class(kind, "mark", words), "  "]
    return of_class("faint", "p", *parts)


def marked(text: str, expected: Sequence[Span], answer: Sequence[Span]) -> list[Element | str]:
    """Return a text with the parts that are labelled and those that were found, told apart where they differ.

    Parts may overlap: each piece of the text between their ends is of all that cover it.
    """
    # JSON has lists for them.
    sides: dict[str, set[Span]] = {
        sign: {(start, stop, kind) for start, stop, kind in spans} for sign, spans in (("-", expected), ("+", answer))
    }
    ends = {end for spans in sides.values() for start, stop, _ in spans for end in (start, stop)}
    cuts = sorted({0, len(text)} | {end for end in ends if 0 < end < len(text)})
    parts: list[Element | str] = []
    for start, stop in pairwise(cuts):
        over = {sign: {span for span in spans if span[0] <= start and stop <= span[1]} for sign, spans in sides.items()}
        piece = text[start:stop]
        if not over["-"] and not over["+"]:
            parts.append(piece)
            continue
        style = "both" if over["-"] == over["+"] else "differs" if over["-"] and over["+"] else "missed"
        style = style if over["-"] else "extra"
        words = _named(over["-"], over["+"], at=start)
        parts.append(of_class(style, "mark", piece, *([node("small", words)] if words else [])))
    return parts


def weighted(text: str, parts: Sequence[Sequence[float]]) -> list[Element | str]:
    """Return a text with parts of it shaded; parts: (first character, the one after the last, weight up to 1)."""
    found: list[Element | str] = []
    done = 0
    for start, end, weight in sorted(parts, key=lambda part: part[0]):
        begin, stop = max(int(start), done), min(int(end), len(text))
        if begin < stop:
            shade = of_class(f"w{max(1, math.ceil(4 * min(weight, 1.0)))}", "mark", text[begin:stop])
            found += [*([text[done:begin]] if begin > done else []), shade]
            done = stop
    return [*found, text[done:]]


def _named(expected: set[Span], answer: set[Span], *, at: int) -> str:
    """Return the labels of the spans that begin here: once where both agree, else ``wanted, not found``."""
    wanted, found = ({kind for start, _, kind in spans if start == at} for spans in (expected, answer))
    if wanted == found:
        return ", ".join(sorted(wanted))
    return ", ".join([*(f"-{kind}" for kind in sorted(wanted)), *(f"+{kind}" for kind in sorted(found))])


def _answers(answers: Sequence[Mapping[str, Any]]) -> list[Element]:
    """Return answers in words, row by row, beside what the row says."""
    parts = []
    for row in answers:
        verdict = "" if "match" not in row else ": as expected" if row["match"] else ": not as expected"
        verdict = f": {row['verdict']}" if "verdict" in row else verdict
        said = row["answer"] or row.get("error") or "(nothing)"
        texts = (("prompt", row.get("prompt")), ("expected", row["expected"]), ("answer", said))
        cells = [
            node("tr", node("th", name), node("td", node("pre", text, attributes={"dir": "auto"})))
            for name, text in texts if text
        ]  # fmt: skip
        drawn = of_class("scroll", "div", node("table", node("tbody", *cells)))
        parts += [node("h4", f"{row['id']}{verdict}"), drawn]
    return [node("h3", "Answers"), *parts] if parts else []


def _image(path: Path, description: str) -> Element:
    source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    return node("img", attributes={"src": source, "alt": description})


def _cell(value: Any) -> str:
    return number(value) if value is None or isinstance(value, float) else f"{value}"
