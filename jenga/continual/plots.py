"""Figures of runs in stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jenga.continual.compare import Comparison, Group
from jenga.extras import required
from jenga.files import atomic_file
from jenga.imports import collector_at_rest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Those of Okabe and Ito, told apart by most eyes."""
MOST_CELLS = 12
"""Stages whose scores are written into the cells of a matrix; more would not be read."""
_PANEL = 3.4
_BESIDE, _BELOW = 0.95, 0.6
"""Inches left of axes and below them."""
_COLUMNS = 3


def matrices(comparison: Comparison) -> Figure:
    """Return a panel a group with its matrix, after which stage down and of which stage across, all on one scale.

    The last panel has the mean score over the stages that are learnt, after each of them.
    """
    from matplotlib.figure import Figure

    groups = comparison.groups
    count = len(groups) + 1
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(columns * (_PANEL + _BESIDE), rows * (_PANEL + _BELOW + 0.4)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    known = [score for group in groups for row in group.matrix for score in row if score is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    for axes, group in zip(panels, groups, strict=False):
        _matrix(axes, group, comparison.stages, low, high, greater=comparison.greater_is_better)
    _curves(panels[len(groups)], comparison)
    for axes in panels[count:]:
        axes.set_visible(False)
    figure.suptitle(f"{plain(comparison.metric, width=60)} of each stage after each stage", fontsize=11)
    return figure


def _matrix(axes: Axes, group: Group, stages: Sequence[str], low: float, high: float, *, greater: bool) -> None:
    values = np.array([[np.nan if score is None else score for score in row] for row in group.matrix], float)
    axes.imshow(values, vmin=low, vmax=high, cmap="Blues" if greater else "Blues_r", aspect="auto")
    names = [plain(stage, width=14) for stage in stages]
    axes.set_xticks(range(len(stages)), names, rotation=30, ha="right", fontsize=7)
    axes.set_yticks(range(len(values)), names[: len(values)], fontsize=7)
    axes.set_xlabel("score of")
    axes.set_ylabel("after")
    runs = f", mean of {len(group.records)} runs" if len(group.records) > 1 else ""
    axes.set_title(f"{plain(group.name, width=36)}{runs}", fontsize=9)
    if len(stages) > MOST_CELLS:
        return
    middle = (low + high) / 2
    for i, j in np.argwhere(np.isfinite(values)):
        dark = values[i, j] > middle if greater else values[i, j] < middle
        axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")


def _curves(axes: Axes, comparison: Comparison) -> None:
    for at, group in enumerate(comparison.groups):
        matrix = group.matrix
        means = [np.mean([np.nan if x is None else x for x in row[: i + 1]]) for i, row in enumerate(matrix)]
        colour = COLOURS[at % len(COLOURS)]
        line = "-" if at < len(COLOURS) else "--"
        axes.plot(range(1, len(means) + 1), means, line, marker="o", markersize=4, color=colour,
                  label=plain(group.name, width=36))  # fmt: skip
    axes.set_xticks(range(1, len(comparison.stages) + 1))
    axes.set_xlabel("stages learnt")
    axes.set_ylabel("mean score of the stages learnt")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def draw(comparison: Comparison, path: Path) -> None:
    """Write the figure of `matrices` as a PNG. Raises SetupError without matplotlib, or where it cannot be written."""
    required("matplotlib", extra="report", need="figures of runs need matplotlib")
    with collector_at_rest():
        figure = matrices(comparison)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=150)


def plain(name: str, *, width: int = 28) -> str:
    """Return a label fit for a figure: short, printable, and with dollar signs that do not start a formula."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
    if len(shown) > width:
        shown = shown[: width - 1] + "…"
    return shown.replace("$", r"\$")
