"""Figures of a run, made without pyplot's global state. Colours are those of Okabe and Ito, told apart by most eyes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
SMOOTHED_SHARE = 0.02
MAX_CURVE_POINTS = 400
MAX_CONFUSION_CLASSES = 30
MAX_CONFUSED_PAIRS = 20
MAX_BARS = 40
MARGINS = (0.95, 0.25, 0.6, 0.4)
"""Inches left, right, below and above of axes: a text in an SVG is set in the reader's font, which may run wide."""

Record = Mapping[str, Any]
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def loss_curves(records: Sequence[Record]) -> Figure:
    """Return the training and evaluation losses over steps: the total, and beside it each task where there are several.

    `records`: lines of metrics.jsonl. Thin: as recorded; thick: exponential mean; diamonds: on the validation rows.
    """
    train, evals = _of(records, "train"), _of(records, "eval")
    tasks = sorted({task for record in train for task in record["task_loss"]})
    panels = 2 if len(tasks) > 1 else 1
    figure = new_figure(width=5.5 * panels, height=3.8, columns=panels)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    steps, losses = _series((record["step"], record["loss"]) for record in train)
    axes[0].plot(*_thinned(steps, losses), color=COLOURS[0], alpha=0.25, linewidth=0.8)
    axes[0].plot(*_thinned(steps, _smoothed(losses)), color=COLOURS[0], label="train")
    _points(axes[0], evals, "eval_loss", 1, "eval")
    _decorate(axes[0], title="Loss, all tasks", y="loss")
    if panels == 2:
        for i, task in enumerate(tasks):
            steps, losses = _series((record["step"], record["task_loss"].get(task)) for record in train)
            axes[1].plot(*_thinned(steps, _smoothed(losses)), label=plain(task), **_style(i))
            _points(axes[1], evals, f"eval_{task}_loss", i, None)
        _decorate(axes[1], title="Loss of each task (line: train, diamond: eval)", y="loss")
    return figure


def learning_rates(records: Sequence[Record]) -> Figure:
    """Return the learning rate of each parameter group over steps."""
    train = _of(records, "train")
    figure = new_figure(width=5.5, height=3.2)
    axes = figure.subplots()
    for i, group in enumerate(sorted({group for record in train for group in record["learning_rate"]})):
        steps, rates = _series((record["step"], record["learning_rate"].get(group)) for record in train)
        # Groups often share one rate; dashes let the line below show through.
        style = {**_style(i), "linestyle": LINES[i % len(LINES)]}
        axes.plot(*_thinned(steps, rates), label=plain(group), **style)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    _decorate(axes, title="Learning rate", y="learning rate per step")
    return figure


def task_gradients(records: Sequence[Record]) -> Figure | None:
    """Return how the tasks pull at what they share, over steps; None where the records tell nothing of it.

    The norm of each one's gradient for the last shared layer; each one's weight, where weights move; and the cosine of
    each pair's gradients, where these are taken apart: below 0 they pull apart.
    """
    train = _of(records, "train")
    named = (
        ("task_grad_norm", "Gradient of each task (last shared layer)", "norm"),
        ("task_weight", "Weight of each task", "weight"),
        ("task_cosine", "Agreement of the tasks' gradients", "cosine"),
    )
    shown = [each for each in named if len({name for record in train for name in record.get(each[0], ())}) > 1]
    shown += [each for each in named[2:] if each not in shown and any(record.get(each[0]) for record in train)]
    if not shown:
        return None
    figure = new_figure(width=5.5, height=3.2 * len(shown), rows=len(shown))
    for (key, title, y), axes in zip(shown, figure.subplots(len(shown), 1, squeeze=False)[:, 0], strict=True):
        for i, name in enumerate(sorted({name for record in train for name in record.get(key, ())})):
            steps, values = _series((record["step"], record.get(key, {}).get(name)) for record in train)
            axes.plot(*_thinned(steps, _smoothed(values)), label=plain(name.replace("|", " and ")), **_style(i))
        if key == "task_cosine":
            axes.axhline(0.0, color="black", linewidth=0.8)
        _decorate(axes, title=title, y=y)
    return figure


def metric_curves(records: Sequence[Record], heads: Sequence[tuple[str, str, str]]) -> Figure:
    """Return each head's primary metric on the validation rows over steps, one panel a task.

    `heads`: (task, head, metric) in the order to show them.
    """
    evals = _of(records, "eval")
    tasks = list(dict.fromkeys(task for task, _, _ in heads))
    columns = min(len(tasks), 2)
    rows = -(-len(tasks) // columns)
    figure = new_figure(width=5.5 * columns, height=3.4 * rows, rows=rows, columns=columns)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(tasks) :]:
        axes.remove()
    for task, axes in zip(tasks, panels, strict=False):
        own = [(head, metric) for name, head, metric in heads if name == task]
        shown: list[float] = []
        for i, (head, metric) in enumerate(own):
            key = f"eval_{task}_{head}_{metric}"
            steps, values = _series((record["step"], record["metrics"].get(key)) for record in evals)
            axes.plot(steps, values, marker="o", markersize=4, label=plain(head), **_style(i))
            shown += values.tolist()
        metrics = dict.fromkeys(metric for _, metric in own)
        _decorate(axes, title=plain(task), y=" / ".join(metrics))
        if not {"mae"} & set(metrics) and not any(value > 1 for value in shown):
            axes.set_ylim(-0.02, 1.02)
    return figure


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Return a confusion matrix (rows: targets, columns: predictions), coloured by share of the row, with counts.

    Above 30 classes the cells cannot be read, so the 20 most frequent confusions are shown as bars instead.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    return _confused_pairs(counts, labels) if len(labels) > MAX_CONFUSION_CLASSES else _heat_map(counts, labels)


def per_label_bars(table: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the F1 of each label with its support; `table` is ``per_label`` of `head_details`.

    Of more than 40 labels, those with the most support are shown.
    """
    shown = sorted(table, key=lambda row: -row["support"])[:MAX_BARS]
    shown = [row for row in table if row in shown]
    names = [plain(row["label"]) for row in shown]
    figure = new_figure(width=3.5 + _inches(names), height=1.2 + 0.24 * len(shown), left=0.25 + _inches(names))
    axes = figure.subplots()
    places = np.arange(len(shown))
    scores = [row["f1"] or 0.0 for row in shown]
    axes.barh(places, scores, color=COLOURS[0], height=0.7)
    for place, row, score in zip(places, shown, scores, strict=True):
        text = "undefined" if row["f1"] is None else f"{score:.2f}"
        inside = score > 0.75
        axes.annotate(
            f"{text}  n={row['support']}",
            (score, place),
            xytext=(-4 if inside else 4, 0),
            textcoords="offset points",
            ha="right" if inside else "left",
            va="center",
            fontsize=7,
            color="white" if inside else "black",
        )
    axes.set_yticks(places, names, fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("F1 (n: rows with that label)")
    some = "" if len(shown) == len(table) else f", the {len(shown)} most frequent of {len(table)}"
    head_line(figure, f"F1 of each label{some}")
    return figure


def number_scatter(points: Sequence[Sequence[float]], label: str) -> Figure:
    """Return predictions over targets with the line of perfect prediction; `points`: (target, prediction) pairs."""
    targets, predictions = np.asarray(points, dtype=float).reshape(-1, 2).T
    figure = new_figure(width=4.2, height=4.0)
    axes = figure.subplots()
    axes.scatter(targets, predictions, s=12, alpha=0.5, color=COLOURS[0], linewidths=0)
    axes.axline((float(targets.mean()), float(targets.mean())), slope=1, color=COLOURS[1], linestyle="--", linewidth=1)
    axes.set_xlabel("target")
    axes.set_ylabel("prediction")
    axes.set_title(f"{plain(label)} (dashed: perfect)", fontsize=10)
    axes.grid(alpha=0.3)
    return figure


# ----------------------------------------------------------------------------------------------------------- confusion


def _heat_map(counts: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    size = len(labels)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [plain(label) for label in labels]
    beside, side = 0.5 + _inches(names), 0.36 * size
    width = max(beside + side + 0.25, 4.0)
    figure = new_figure(width=width, height=beside + side + 0.4, left=beside, bottom=beside)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.55 else "black"
        count = counts[row, column]
        text = f"{count}" if count < 10_000 else f"{count / 1000:.0f}k"
        axes.text(column, row, text, ha="center", va="center", fontsize=8 if size <= 12 else 7, color=colour)
    axes.set_xticks(range(size), names, rotation=90, fontsize=8)
    axes.set_yticks(range(size), names, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    head_line(figure, "Confusion matrix: rows (colour: share of the label)")
    return figure


def _confused_pairs(counts: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    from matplotlib.ticker import MaxNLocator

    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_CONFUSED_PAIRS]
    pairs = [divmod(int(place), len(labels)) for place in order if wrong.flat[place]]
    names = [f"{plain(labels[gold])} → {plain(labels[predicted])}" for gold, predicted in pairs]
    figure = new_figure(width=3.5 + _inches(names), height=1.4 + 0.26 * len(pairs), left=0.25 + _inches(names))
    axes = figure.subplots()
    totals = counts.sum(axis=1)
    values = [int(wrong[gold, predicted]) for gold, predicted in pairs]
    axes.barh(range(len(pairs)), values, color=COLOURS[1], height=0.7)
    for place, ((gold, _), value) in enumerate(zip(pairs, values, strict=True)):
        text = f"{value} of {totals[gold]}"
        axes.annotate(text, (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    axes.set_xlim(0, 1.4 * max(values, default=1))
    axes.set_ylim(max(len(pairs), 1) - 0.5, -0.5)
    axes.set_xlabel("rows (of all with that label)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    head_line(figure, f"Most frequent confusions of {len(labels)} classes (label → predicted)")
    return figure


# -------------------------------------------------------------------------------------------------------------- shared


def new_figure(
    *,
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    left: float = MARGINS[0],
    bottom: float = MARGINS[2],
) -> Figure:
    """Return an empty figure for panels in `rows` and `columns`; sizes, and the room beside a panel, in inches.

    The room is given, not found: matplotlib's layouts draw a figure three times, to measure each of its words.
    """
    from matplotlib.figure import Figure

    _, right, _, top = MARGINS
    figure = Figure(figsize=(width, height))
    panel_width, panel_height = width / columns - left - right, height / rows - bottom - top
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height,
        wspace=(left + right) / panel_width, hspace=(bottom + top) / panel_height,
    )  # fmt: skip
    return figure


def head_line(figure: Figure, text: str) -> None:
    """Write `text` over all panels of a figure."""
    figure.suptitle(text, fontsize=10, y=1 - 0.1 / figure.get_figheight())


def _inches(names: Iterable[str]) -> float:
    """Return how wide the longest of `names` may run at 8 points; ideographs are twice as wide as letters."""
    wide = (sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in name) for name in names)
    return 0.075 * max(wide, default=0)


def _of(records: Sequence[Record], event: str) -> list[Record]:
    return [record for record in records if record["event"] == event]


def _series(points: Iterable[tuple[int, float | None]]) -> Curve:
    pairs = np.array([point for point in points if point[1] is not None], dtype=float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exponential mean over about a fiftieth of the curve; a value that is not finite is passed over."""
    keep = 1 - 1 / max(1.0, SMOOTHED_SHARE * len(values))
    mean, weight, out = 0.0, 0.0, np.empty_like(values)
    for i, value in enumerate(values):
        if np.isfinite(value):
            mean = keep * mean + (1 - keep) * value
            weight = keep * weight + (1 - keep)
        out[i] = mean / weight if weight else np.nan
    return out


def _thinned(steps: NDArray[np.float64], values: NDArray[np.float64]) -> Curve:
    """Return about 400 evenly chosen points and the last one, so that a long run's picture stays small."""
    stride = -(-len(steps) // MAX_CURVE_POINTS) or 1
    chosen = np.union1d(np.arange(0, len(steps), stride), np.arange(len(steps))[-1:])
    return steps[chosen], values[chosen]


def _points(axes: Axes, evals: Sequence[Record], key: str, colour: int, label: str | None) -> None:
    steps, values = _series((record["step"], record["metrics"].get(key)) for record in evals)
    shade = COLOURS[colour % len(COLOURS)]
    axes.plot(steps, values, "D", markersize=5, color=shade, label=label, markeredgecolor="white")


def _style(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i // len(COLOURS) % len(LINES)]}


def _decorate(axes: Axes, *, title: str, y: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def plain(name: str, *, width: int = 28) -> str:
    """Return a label fit for a figure: short, printable, and with dollar signs that do not start a formula."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
    if len(shown) > width:
        shown = shown[: width - 1] + "…"
    return shown.replace("$", r"\$")
