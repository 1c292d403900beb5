"""How well anomalies are told from normal rows: numbers, tables and curves of one head over a split.

The rank metrics take the raw scores, and so do the alerts; calibration changes neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.labels.curves import calibration_error, reliability
from jenga.labels.judge import head_details
from jenga.labels.metric import Metric
from jenga.tasks.anomaly.calibration import Calibrator, Floats, alert_threshold
from jenga.types import HeadSpace

MAX_CURVE_POINTS = 300
HISTOGRAM_BINS = 40
COLLAPSED = 1e-4


@dataclass(frozen=True)
class Detection:
    """The labelled rows of one split as a head of anomalies sees them.

    `predictions`, `targets` int64 ``(M,)``: class ids (predictions: alerts, of an unsupervised head); `scores` float64
    ``(M,)``: raw; `anomalous` bool ``(M,)``.
    """

    space: HeadSpace
    normal: int
    supervised: bool
    predictions: NDArray[np.int64]
    targets: NDArray[np.int64]
    scores: Floats
    anomalous: NDArray[np.bool_]
    target_fpr: float
    calibrator: Calibrator

    @property
    def has_both(self) -> bool:
        """Whether there are normal rows and anomalies."""
        return bool(self.anomalous.any() and not self.anomalous.all())

    @property
    def threshold(self) -> float | None:
        """The raw score above which a row raises an alert.

        Before it is fitted, that of these rows themselves; None where none of them is normal.
        """
        if (fitted := self.calibrator.threshold) is not None:
            return fitted
        return None if self.anomalous.all() else alert_threshold(self.scores[~self.anomalous], self.target_fpr)

    @property
    def alerts(self) -> NDArray[np.bool_] | None:
        """Which rows raise an alert; None without a threshold."""
        return None if self.threshold is None else np.asarray(self.scores > self.threshold)

    @property
    def right(self) -> NDArray[np.bool_] | None:
        """Which rows are answered rightly: by their class, or, of an unsupervised head, by alert or none."""
        if self.supervised:
            return np.asarray(self.predictions == self.targets)
        return None if self.alerts is None else np.asarray(self.alerts == self.anomalous)


def declared_detection_metrics(labels: Sequence[str], target_fpr: float) -> tuple[Metric, ...]:
    """Return what `detection_metrics` may give, the primary metric first."""
    return (
        Metric("auroc"), Metric("auprc"), Metric(_recall_name(target_fpr), greater_is_better=True), Metric("accuracy"),
        Metric("f1"), Metric("precision"), Metric("recall"), Metric("fpr"), Metric("ece"),
        Metric("uncalibrated_ece", greater_is_better=False),
        *(Metric(f"{label}_recall", greater_is_better=True) for label in labels),
    )  # fmt: skip


def detection_metrics(found: Detection) -> dict[str, float]:
    """Return the metrics of one head; {} where no row is labelled, and what is undefined is left out.

    - ``auroc``, ``auprc`` (average precision), ``recall_at_fpr_<target>``: of the ranking alone; with both sides only.
    - ``fpr``, ``recall``, ``precision``, ``f1``: of the alerts, anomalies being the positive side.
    - ``accuracy``, ``<label>_recall``: of the classes; of an unsupervised head: of the alerts.
    - ``ece``, ``uncalibrated_ece``: of scores that claim to be probabilities.
    """
    if not len(found.targets):
        return {}
    metrics = {**_ranking(found), **_alerting(found)}
    if (right := found.right) is not None:
        metrics["accuracy"] = float(right.mean())
        for code, label in enumerate(found.space.labels):
            if (rows := found.targets == code).any():
                metrics[f"{label}_recall"] = float(right[rows].mean())
    if found.has_both:
        calibrator = found.calibrator
        if calibrator.is_probability:
            metrics["ece"] = calibration_error(calibrator.calibrated(found.scores), found.anomalous)
        if calibrator.log_odds:
            metrics["uncalibrated_ece"] = calibration_error(calibrator.uncalibrated(found.scores), found.anomalous)
    return metrics


def _ranking(found: Detection) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not found.has_both:
        return {}
    limit = alert_threshold(found.scores[~found.anomalous], found.target_fpr)
    return {
        "auroc": float(roc_auc_score(found.anomalous, found.scores)),
        "auprc": float(average_precision_score(found.anomalous, found.scores)),
        _recall_name(found.target_fpr): float((found.scores[found.anomalous] > limit).mean()),
    }


def _alerting(found: Detection) -> dict[str, float]:
    alerts = found.alerts
    if alerts is None:
        return {}
    metrics = {}
    hits, raised, anomalies = (alerts & found.anomalous).sum(), alerts.sum(), found.anomalous.sum()
    if not found.anomalous.all():
        metrics["fpr"] = float(alerts[~found.anomalous].mean())
    if raised:
        metrics["precision"] = float(hits / raised)
    if anomalies:
        metrics["recall"] = float(hits / anomalies)
        metrics["f1"] = float(2 * hits / (raised + anomalies))
    return metrics


def detection_details(found: Detection) -> dict[str, Any]:
    """Return tables and curves of one head, ready for JSON.

    Always ``warnings``. With labelled rows also ``per_label`` (with the share of rows that raise an alert),
    ``confusion`` of a supervised head, and ``detection``: what was fitted on the validation rows, points of the curves,
    a histogram of the raw scores by side, and the reliability of the scores.
    """
    if not len(found.targets):
        return {"warnings": ["no labelled row"]}
    details: dict[str, Any] = {"warnings": _warnings(found)}
    if found.supervised:
        classes = head_details(found.space, found.predictions, found.targets)
        details |= {name: classes[name] for name in ("confusion", "confused", "per_label") if name in classes}
    else:
        details["per_label"] = [
            {"label": label, "support": int((found.targets == code).sum())}
            for code, label in enumerate(found.space.labels)
        ]
    for code, row in enumerate(details["per_label"]):
        rows = found.targets == code
        row["alerts"] = None if found.alerts is None or not rows.any() else float(found.alerts[rows].mean())
    details["detection"] = _fitted(found) | _curves(found)
    return details


def _warnings(found: Detection) -> list[str]:
    warnings = []
    if not found.has_both:
        absent = "normal row" if found.anomalous.all() else "anomaly"
        warnings.append(f"no {absent} among the labelled rows, so rank metrics and calibration errors are undefined")
    if np.ptp(found.scores) < COLLAPSED:
        warnings.append("all rows have nearly one score: the detector has collapsed")
    if found.calibrator.kind == "quantile":
        warnings.append(
            "no anomaly among the validation rows: the score is the share of normal validation rows that score lower, "
            "no probability"
        )
    return warnings


def _fitted(found: Detection) -> dict[str, Any]:
    calibrator, limit = found.calibrator, found.threshold
    normal, anomalous = calibrator.fitted_on
    return {
        "normal": found.space.labels[found.normal],
        "target_fpr": found.target_fpr,
        "scale": "log-odds of not being normal" if calibrator.log_odds else "logarithm of the error",
        "threshold": limit,
        "threshold_score": None if limit is None else float(calibrator.calibrated(np.array([limit]))[0]),
        "calibration": calibrator.kind,
        "fitted_on": {"normal": normal, "anomalous": anomalous},
        "held_out_ece": calibrator.held_out_ece,
    }


def _curves(found: Detection) -> dict[str, Any]:
    from sklearn.metrics import precision_recall_curve, roc_curve

    curves: dict[str, Any] = {"histogram": _histogram(found)}
    if not found.has_both:
        return curves
    fpr, tpr, _ = roc_curve(found.anomalous, found.scores)
    precision, recall, _ = precision_recall_curve(found.anomalous, found.scores)
    curves["roc"] = _thinned(fpr, tpr)
    curves["precision_recall"] = _thinned(recall[::-1], precision[::-1])
    curves["operating_point"] = {name: _alerting(found).get(name) for name in ("fpr", "recall", "precision")}
    calibrator = found.calibrator
    curves["reliability"] = {}
    if calibrator.log_odds:
        curves["reliability"]["before"] = reliability(calibrator.uncalibrated(found.scores), found.anomalous)
    if calibrator.is_probability and calibrator.kind not in ("unfitted", "none"):
        curves["reliability"]["after"] = reliability(calibrator.calibrated(found.scores), found.anomalous)
    return curves


def _histogram(found: Detection) -> dict[str, Any]:
    edges = np.histogram_bin_edges(found.scores, HISTOGRAM_BINS)
    sides = {"normal": found.scores[~found.anomalous], "anomalous": found.scores[found.anomalous]}
    return {
        "edges": edges.tolist(),
        **{name: np.histogram(scores, edges)[0].tolist() for name, scores in sides.items()},
    }


def _thinned(x: Floats, y: Floats) -> list[list[float]]:
    """Return points of a curve with a rising x: its ends, and those that are apart on a plain or a logarithmic axis."""
    low = np.log10(np.maximum(x, 1e-6))
    way = np.abs(np.diff(x, prepend=x[0])) + np.abs(np.diff(y, prepend=y[0])) + np.abs(np.diff(low, prepend=low[0])) / 6
    way = np.cumsum(way)
    at = np.searchsorted(way, np.linspace(0, way[-1], MAX_CURVE_POINTS))
    kept = np.unique(np.clip(np.concatenate([[0], at, [len(x) - 1]]), 0, len(x) - 1))
    points: list[list[float]] = np.stack([x[kept], y[kept]], axis=1).round(6).tolist()
    return points


def _recall_name(target_fpr: float) -> str:
    return f"recall_at_fpr_{target_fpr:g}"
