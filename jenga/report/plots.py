"""Figures of a run, from its records and from evaluation.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from jenga.report.draw import Plot, colour
from jenga.report.page import Cell, node, of_class, table

SMOOTHED_SHARE = 0.02
MAX_CURVE_POINTS = 400
MAX_CONFUSION_CLASSES = 30
MAX_CONFUSED_PAIRS = 50
MAX_POINTS = 600
_SHADES = 8
_STEP = "optimizer step"

Record = Mapping[str, Any]
Curve = tuple[list[float], list[float]]
Series = tuple[NDArray[np.float64], NDArray[np.float64]]


def loss_curves(records: Sequence[Record]) -> list[Element]:
    """Return the training and evaluation losses over steps: the total, and beside it each task where there are several.

    `records`: lines of metrics.jsonl. Pale: as recorded; full: exponential mean; points: on the validation rows.
    """
    train, evals = of_event(records, "train"), of_event(records, "eval")
    tasks = sorted({task for record in train for task in record["task_loss"]})
    steps, losses = _series((record["step"], record["loss"]) for record in train)
    total = Plot("Loss, all tasks", _STEP, "loss")
    total.line(*thinned(steps, losses), style="s0 pale")
    total.line(*thinned(steps, smoothed(losses)), style="s0", name="train")
    _points(total, evals, "eval_loss", 1, "valid")
    if len(tasks) < 2:
        return [total.drawn()]
    by_task = Plot("Loss of each task (line: train, points: valid)", _STEP, "loss")
    for i, task in enumerate(tasks):
        steps, losses = _series((record["step"], record["task_loss"].get(task)) for record in train)
        by_task.line(*thinned(steps, smoothed(losses)), style=colour(i), name=task)
        _points(by_task, evals, f"eval_{task}_loss", i, None)
    return [total.drawn(), by_task.drawn()]


def learning_rates(records: Sequence[Record]) -> Element:
    """Return the learning rate of each parameter group over steps."""
    train = of_event(records, "train")
    plot = Plot("Learning rate", _STEP, "learning rate")
    for i, group in enumerate(sorted({group for record in train for group in record["learning_rate"]})):
        steps, rates = _series((record["step"], record["learning_rate"].get(group)) for record in train)
        # Groups often share one rate; dashes let the line below show through.
        plot.line(*thinned(steps, rates), style=f"s{i % 7} d{i % 4}", name=group)
    return plot.drawn()


def gradient_norm(records: Sequence[Record]) -> Element | None:
    """Return the norm of all gradients over steps, before it is clipped; None where no record tells of it."""
    steps, norms = _series((record["step"], record.get("grad_norm")) for record in of_event(records, "train"))
    if not len(steps):
        return None
    plot = Plot("Norm of the gradient", _STEP, "norm")
    plot.line(*thinned(steps, norms), style="s0 pale")
    plot.line(*thinned(steps, smoothed(norms)), style="s0")
    return plot.drawn()


def task_gradients(records: Sequence[Record]) -> list[Element]:
    """Return how the tasks pull at what they share, over steps; nothing where the records tell nothing of it.

    The norm of each one's gradient for the last shared layer; each one's weight, where weights move; and the cosine of
    each pair's gradients, where these are taken apart: below 0 they pull apart.
    """
    train = of_event(records, "train")
    named = (
        ("task_grad_norm", "Gradient of each task (last shared layer)", "norm"),
        ("task_weight", "Weight of each task", "weight"),
        ("task_cosine", "Agreement of the tasks' gradients", "cosine"),
    )
    drawn = []
    for key, title, y in named:
        names = sorted({name for record in train for name in record.get(key, ())})
        # One task alone has nothing to be compared with, but one pair has.
        if len(names) < (1 if key == "task_cosine" else 2):
            continue
        plot = Plot(title, _STEP, y)
        for i, name in enumerate(names):
            steps, values = _series((record["step"], record.get(key, {}).get(name)) for record in train)
            plot.line(*thinned(steps, smoothed(values)), style=colour(i), name=name.replace("|", " and "))
        if key == "task_cosine":
            plot.rule(y=0.0)
        drawn.append(plot.drawn())
    return drawn


def metric_curves(records: Sequence[Record], heads: Sequence[tuple[str, str, str]]) -> list[Element]:
    """Return each head's primary metric on the validation rows over steps, one figure a task.

    `heads`: (task, head, metric) in the order to show them.
    """
    evals = of_event(records, "eval")
    drawn = []
    for task in dict.fromkeys(task for task, _, _ in heads):
        own = [(head, metric) for name, head, metric in heads if name == task]
        plot = Plot(f"{task}: on the validation rows", _STEP, " / ".join(dict.fromkeys(metric for _, metric in own)))
        shown: list[float] = []
        for i, (head, metric) in enumerate(own):
            key = f"eval_{task}_{head}_{metric}"
            steps, values = _series((record["step"], record["metrics"].get(key)) for record in evals)
            plot.line(steps.tolist(), values.tolist(), style=colour(i), name=head)
            plot.dots(steps.tolist(), values.tolist(), style=colour(i))
            shown += values.tolist()
        if "mae" not in {metric for _, metric in own} and all(0 <= value <= 1 for value in shown):
            plot.y_range = (-0.02, 1.02)
        drawn.append(plot.drawn())
    return drawn


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> list[Element]:
    """Return a confusion matrix (rows: targets, columns: predictions), shaded by the share of the row, with counts.

    Above 30 classes it cannot be read, so the 50 most frequent confusions are listed instead.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    if len(labels) > MAX_CONFUSION_CLASSES:
        gold, found = np.nonzero(counts - np.diag(counts.diagonal()))
        pairs = zip(gold.tolist(), found.tolist(), strict=True)
        return confused(
            [(labels[g], labels[p], int(counts[g, p])) for g, p in pairs], labels, counts.sum(axis=1).tolist()
        )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [_name(label) for label in labels]
    corner = node("th", "labelled \N{DOWNWARDS ARROW}, predicted \N{RIGHTWARDS ARROW}")
    lines = []
    for label, row, parts in zip(labels, counts.tolist(), shares.tolist(), strict=True):
        cells = [_shaded(count, part) for count, part in zip(row, parts, strict=True)]
        lines.append(node("tr", node("th", _name(label)), *cells))
    head = node("thead", node("tr", corner, *(node("th", name) for name in names)))
    drawn = of_class("matrix", "table", head, node("tbody", *lines))
    title = node("h4", "Confusion matrix: rows, shaded by the share of the label")
    return [title, of_class("scroll", "div", drawn)]


def confused(pairs: Sequence[tuple[str, str, int]], labels: Sequence[str], totals: Sequence[int]) -> list[Element]:
    """Return a table of the most frequent of `pairs`: labelled, predicted, rows; totals: rows of each label."""
    total = dict(zip(labels, totals, strict=True))
    most = sorted(pairs, key=lambda pair: -pair[2])[:MAX_CONFUSED_PAIRS]
    rows: list[list[Cell]] = [
        [label, answer, f"{count:,}", f"{total[label]:,}", bar(count / total[label])] for label, answer, count in most
    ]
    drawn = table([["labelled", "predicted", "rows", "of all with that label", "share"], *rows])
    return [node("h4", "Most frequent confusions"), drawn]


def number_scatter(points: Sequence[Sequence[float]], label: str) -> Element:
    """Return predictions over targets with the line of perfect prediction; `points`: (target, prediction) pairs."""
    pairs = np.asarray(points, dtype=float).reshape(-1, 2)
    stride = -(-len(pairs) // MAX_POINTS) or 1
    targets, predictions = pairs[::stride].T.tolist()
    plot = Plot(f"{label} (dotted: perfect)", "target", "prediction")
    plot.dots(targets, predictions, style="s0 pale")
    plot.rule(x=0.0, y=0.0)
    return plot.drawn()


def reliability(bins: Sequence[Sequence[float]]) -> Element:
    """Return how often answers are right over how probable they are said to be; bins: (mean, share right, rows)."""
    plot = Plot("Reliability (area: rows)", "probability of the answer", "share that is right", (0, 1), (0, 1.02))
    plot.rule(x=0.0, y=0.0, name="perfect")
    add_bins(plot, bins, style="s0", name="answers")
    return plot.drawn()


def add_bins(plot: Plot, bins: Sequence[Sequence[float]], *, style: str, name: str) -> None:
    """Draw (mean, share, rows) as a line through points whose area is the share of the rows."""
    mean, share, rows = np.asarray(bins, dtype=float).reshape(-1, 3).T
    plot.line(mean.tolist(), share.tolist(), style=style, name=name)
    plot.dots(mean.tolist(), share.tolist(), style=style, sizes=(2 + 7 * np.sqrt(rows / rows.sum())).tolist())


def ranked(curves: Sequence[Mapping[str, Any]]) -> list[Element]:
    """Return ROC and precision over recall of labels, each told from all others; `curves`: of `jenga.labels.curves`."""
    roc = Plot("ROC of each label", "false positive rate", "recall", (0, 1), (0, 1.02))
    precision = Plot("Precision over recall", "recall", "precision", (0, 1), (0, 1.02))
    roc.rule(x=0.0, y=0.0)
    for i, each in enumerate(curves):
        for plot, key, score in ((roc, "roc", "roc_auc"), (precision, "precision_recall", "average_precision")):
            xs, ys = np.asarray(each[key], dtype=float).reshape(-1, 2).T.tolist()
            plot.line(xs, ys, style=colour(i), name=f"{each['label']} ({each[score]:.3f})")
    return [roc.drawn(), precision.drawn()]


def bar(value: float | None, *, most: float = 1.0) -> Element:
    """Return a cell with a number from 0 to `most` and a bar of its length beside it."""
    if value is None:
        return node("td", "-")
    width = f"{90 * min(max(value / most, 0.0), 1.0):.1f}"
    drawn = node(
        "svg",
        node("rect", attributes={"width": "90", "height": "8", "rx": "2", "class": "rest"}),
        node("rect", attributes={"width": width, "height": "8", "rx": "2"}),
        attributes={"viewBox": "0 0 90 8", "class": "bar", "aria-hidden": "true"},
    )
    return node("td", f"{value:.3f}", drawn, attributes={"data-value": f"{value:.6g}"})


def _shaded(count: int, part: float) -> Element:
    shade = {"class": f"h{round(part * _SHADES)}", "title": f"{part:.1%} of the label"}
    return node("td", f"{count:,}", attributes=shade)


def _name(label: str) -> Element:
    return node("span", label, attributes={"class": "name", "title": label})


def of_event(records: Sequence[Record], event: str) -> list[Record]:
    """Return the records of one kind."""
    return [record for record in records if record["event"] == event]


def series(records: Sequence[Record], event: str, key: str) -> Series:
    """Return steps and values of a figure of records, or of a metric in them."""
    return _series((each["step"], each.get("metrics", each).get(key)) for each in of_event(records, event))


def _series(points: Iterable[tuple[int, float | None]]) -> Series:
    pairs = np.array([point for point in points if point[1] is not None], dtype=float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exponential mean over about a fiftieth of the curve; a value that is not finite is passed over."""
    keep = 1 - 1 / max(1.0, SMOOTHED_SHARE * len(values))
    mean, weight, out = 0.0, 0.0, np.empty_like(values)
    for i, value in enumerate(values):
        if np.isfinite(value):
            mean = keep * mean + (1 - keep) * value
            weight = keep * weight + (1 - keep)
        out[i] = mean / weight if weight else np.nan
    return out


def thinned(steps: NDArray[np.float64], values: NDArray[np.float64]) -> Curve:
    """Return about 400 evenly chosen points and the last one, so that a long run's picture stays small."""
    stride = -(-len(steps) // MAX_CURVE_POINTS) or 1
    chosen = np.union1d(np.arange(0, len(steps), stride), np.arange(len(steps))[-1:])
    return steps[chosen].tolist(), values[chosen].tolist()


def _points(plot: Plot, evals: Sequence[Record], key: str, place: int, name: str | None) -> None:
    steps, values = _series((record["step"], record["metrics"].get(key)) for record in evals)
    plot.dots(steps.tolist(), values.tolist(), style=colour(place), name=name)
