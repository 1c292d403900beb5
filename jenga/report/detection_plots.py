"""Figures of a head of anomalies, from `detection` of evaluation.json: how well it ranks, alerts, and is calibrated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jenga.report.plots import COLOURS, head_line, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Found = Mapping[str, Any]

LEAST_FPR = 1e-4
"""Where the logarithmic axis of the false alarm rate begins; few test sets have the rows to show less."""


def sentences(found: Found) -> list[str]:
    """Return where the threshold and the calibration come from, and how the calibration does on rows it did not see."""
    rows = found["fitted_on"]
    on = f"{rows['normal']:,} normal and {rows['anomalous']:,} anomalous validation rows"
    if found["calibration"] == "unfitted" or found["threshold_score"] is None:
        return ["The run ended before a threshold was fitted; the figures take one from their own rows."]
    by = f"; at most a share of {found['target_fpr']:.3g} of the normal rows may have a higher one"
    if "objective" in found:
        by = f", chosen for {found['objective'].replace('_', ' ')}"
    alerts = f"A row raises an alert above a score of {found['threshold_score']:.4g}{by}"
    lines = [f"Normal is '{found['normal']}'. {alerts}. Fitted on {on}."]
    if found["calibration"] in ("isotonic", "platt", "temperature"):
        line = f"Scores are calibrated ({found['calibration']}) on the same rows, whose own calibration error flatters"
        if found["held_out_ece"] is not None:
            line += f"; left out of the fit in five folds, they have one of {found['held_out_ece']:.4f}"
        lines.append(f"{line}. A score is the share of anomalies where anomalies are as frequent as among those rows.")
    return lines


def roc(found: Found) -> Figure | None:
    """Return recall over the false alarm rate, on a plain and on a logarithmic axis; None without both sides."""
    if "roc" not in found:
        return None
    fpr, recall = np.array(found["roc"]).T
    figure = new_figure(width=8.0, height=3.6, columns=2)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, scale in zip(panels, ("linear", "log"), strict=True):
        axes.plot(np.maximum(fpr, LEAST_FPR) if scale == "log" else fpr, recall, color=COLOURS[0], label="ROC")
        axes.set_xscale(scale)
        axes.set_xlim((LEAST_FPR, 1) if scale == "log" else (-0.02, 1.02))
        chance = np.geomspace(LEAST_FPR, 1, 100)
        axes.plot(chance, chance, color="grey", linestyle=":", linewidth=1, label="chance")
        axes.axvline(found["target_fpr"], color=COLOURS[4], linestyle="--", linewidth=1, label="target rate")
        point = found["operating_point"]
        if point["fpr"] is not None and point["recall"] is not None:
            axes.plot(max(point["fpr"], LEAST_FPR), point["recall"], "o", color=COLOURS[1], label="alerts")
        axes.set_xlabel(f"false alarm rate ({scale})")
    panels[0].set_ylabel("recall of anomalies")
    _finish(figure, *panels, title="ROC: recall over false alarm rate")
    return figure


def precision_recall(found: Found) -> Figure | None:
    """Return precision over recall with the share of anomalies as the chance line; None without both sides."""
    if "precision_recall" not in found:
        return None
    recall, precision = np.array(found["precision_recall"]).T
    figure = new_figure(width=4.2, height=3.6)
    axes = figure.subplots()
    axes.plot(recall, precision, color=COLOURS[0], label="precision")
    normal, anomalous = (sum(found["histogram"][side]) for side in ("normal", "anomalous"))
    axes.axhline(anomalous / (normal + anomalous), color="grey", linestyle=":", linewidth=1, label="share of anomalies")
    point = found["operating_point"]
    if point["recall"] is not None and point["precision"] is not None:
        axes.plot(point["recall"], point["precision"], "o", color=COLOURS[1], label="alerts")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.05)
    axes.set_xlabel("recall of anomalies")
    axes.set_ylabel("precision of alerts")
    _finish(figure, axes, title="Precision over recall")
    return figure


def score_histogram(found: Found) -> Figure:
    """Return the raw scores of normal rows and of anomalies, each as shares of its side, with the threshold."""
    edges = np.array(found["histogram"]["edges"])
    figure = new_figure(width=5.5, height=3.6)
    axes = figure.subplots()
    for colour, (side, label) in enumerate((("normal", "normal"), ("anomalous", "anomalies"))):
        counts = np.array(found["histogram"][side])
        if counts.sum():
            text = f"{label} ({counts.sum():,})"
            axes.stairs(counts / counts.sum(), edges, fill=True, alpha=0.45, color=COLOURS[colour], label=text)
    if found["threshold"] is not None:
        axes.axvline(found["threshold"], color="black", linestyle="--", linewidth=1, label="threshold of alerts")
    axes.set_xlabel(f"raw score: {plain(found['scale'], width=60)}")
    axes.set_ylabel("share of the side's rows")
    _finish(figure, axes, title="Scores of normal rows and anomalies")
    return figure


def reliability(found: Found) -> Figure | None:
    """Return the share of anomalies over the score, before and after calibration; None where scores claim no share."""
    if not found.get("reliability"):
        return None
    figure = new_figure(width=4.2, height=3.9)
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="grey", linestyle=":", linewidth=1, label="perfect")
    for colour, (when, bins) in enumerate(sorted(found["reliability"].items(), reverse=True)):
        mean, share, rows = np.array(bins).T
        shade = COLOURS[1 - colour] if len(found["reliability"]) > 1 else COLOURS[0]
        label = f"{when} calibration"
        axes.plot(mean, share, color=shade, linewidth=1, linestyle="--" if when == "before" else "-", label=label)
        axes.scatter(mean, share, s=8 + 90 * rows / rows.sum(), color=shade, alpha=0.7, linewidths=0)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("mean score of the bin (15 of one width)")
    axes.set_ylabel("share of anomalies in the bin")
    _finish(figure, axes, title="Reliability (area of a dot: rows)")
    return figure


FIGURES: dict[str, Callable[[Found], Figure | None]] = {
    "ROC": roc,
    "precision and recall": precision_recall,
    "scores": score_histogram,
    "reliability": reliability,
}
"""Every figure by what it shows, in the order of the report."""


def _finish(figure: Figure, *panels: Axes, title: str) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
    panels[-1].legend(fontsize=8)
    head_line(figure, title)
