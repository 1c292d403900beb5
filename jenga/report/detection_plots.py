"""Figures of a head of anomalies, from `detection` of evaluation.json: how well it ranks, alerts, and is calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from jenga.report.draw import Plot, Scale
from jenga.report.plots import add_bins

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


def figures(found: Found) -> list[Element]:
    """Return every figure that `found` has the rows for."""
    drawn = [score_histogram(found)]
    if "roc" in found:
        drawn += [roc(found, "linear"), roc(found, "log")]
    if "precision_recall" in found:
        drawn.append(precision_recall(found))
    if found.get("reliability"):
        drawn.append(reliability(found))
    return [each.drawn() for each in drawn]


def roc(found: Found, scale: Scale) -> Plot:
    """Return recall over the false alarm rate."""
    rates, recall = np.array(found["roc"]).T.tolist()
    left = LEAST_FPR if scale == "log" else 0.0
    words = "false alarm rate" + (", logarithmic" if scale == "log" else "")
    plot = Plot("ROC: recall over false alarm rate", words, "recall of anomalies", (left, 1.0), (0.0, 1.02), scale)
    plot.line([max(rate, left) for rate in rates], recall, style="s0", name="ROC")
    chance = np.geomspace(LEAST_FPR, 1, 60).tolist()
    plot.line(chance, chance, style="s6 pale d2", name="chance")
    plot.rule(x=max(found["target_fpr"], left), name="target rate")
    point = found["operating_point"]
    if point["fpr"] is not None and point["recall"] is not None:
        plot.dots([max(point["fpr"], left)], [point["recall"]], style="s1", name="alerts", sizes=[5.0])
    return plot


def precision_recall(found: Found) -> Plot:
    """Return precision over recall with the share of anomalies as the chance line."""
    recall, precision = np.array(found["precision_recall"]).T.tolist()
    plot = Plot("Precision over recall", "recall of anomalies", "precision of alerts", (0.0, 1.0), (0.0, 1.02))
    plot.line(recall, precision, style="s0", name="precision")
    normal, anomalous = (sum(found["histogram"][side]) for side in ("normal", "anomalous"))
    plot.rule(y=anomalous / (normal + anomalous), name="share of anomalies")
    point = found["operating_point"]
    if point["recall"] is not None and point["precision"] is not None:
        plot.dots([point["recall"]], [point["precision"]], style="s1", name="alerts", sizes=[5.0])
    return plot


def score_histogram(found: Found) -> Plot:
    """Return the raw scores of normal rows and of anomalies, each as shares of its side, with the threshold."""
    edges = list(found["histogram"]["edges"])
    plot = Plot("Scores of normal rows and anomalies", f"raw score: {found['scale']}", "share of the side's rows")
    for place, (side, label) in enumerate((("normal", "normal"), ("anomalous", "anomalies"))):
        counts = np.array(found["histogram"][side])
        if counts.sum():
            plot.steps(edges, (counts / counts.sum()).tolist(), style=f"s{place}", name=f"{label} ({counts.sum():,})")
    if found["threshold"] is not None:
        plot.rule(x=found["threshold"], name="threshold of alerts")
    return plot


def reliability(found: Found) -> Plot:
    """Return the share of anomalies over the score, before and after calibration."""
    plot = Plot(
        "Reliability (area: rows)", "mean score of the bin (15 of one width)", "share of anomalies", (0, 1), (0, 1.02)
    )
    plot.rule(x=0.0, y=0.0, name="perfect")
    several = len(found["reliability"]) > 1
    for when, bins in sorted(found["reliability"].items(), reverse=True):
        style = ("s1 d1" if when == "before" else "s0") if several else "s0"
        add_bins(plot, bins, style=style, name=f"{when} calibration")
    return plot
