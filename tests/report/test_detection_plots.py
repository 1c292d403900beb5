"""Figures of a head of anomalies."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from jenga.report import detection_plots
from jenga.report.html import write_report
from jenga.tasks.anomaly.calibration import Calibrator, Method
from jenga.tasks.anomaly.detection import Detection, detection_details, detection_metrics
from jenga.types import HeadSpace

SPACE = HeadSpace("Threat", "kind", "class", 2, ("normal", "<b>attack</b> $x^"))


def evaluated(
    *, method: Method | None = "isotonic", supervised: bool = True, anomalies: float = 0.3, rows: int = 2000
) -> dict[str, Any]:
    """A head of anomalies as evaluation.json has it, after a trip through JSON."""
    rng = np.random.default_rng(0)
    targets = (rng.random(rows) < anomalies).astype(np.int64)
    scores = rng.normal(size=rows) + 2.5 * targets
    calibrator = Calibrator(log_odds=supervised)
    if method is not None:
        calibrator.fit(scores, targets == 1, method=method, target_fpr=0.05)
    found = Detection(
        space=SPACE, normal=0, supervised=supervised, predictions=(scores > 1).astype(np.int64), targets=targets,
        scores=scores, anomalous=targets == 1, target_fpr=0.05, calibrator=calibrator,
    )  # fmt: skip
    head = {
        "task": "Threat", "head": "kind", "kind": "class", "labels": list(SPACE.labels), "rows": rows,
        "primary_metric": "auroc", "greater_is_better": True, "metrics": detection_metrics(found),
        "details": detection_details(found),
        "baselines": {"majority": {"accuracy": 0.7}},
    }  # fmt: skip
    return dict(json.loads(json.dumps(head, allow_nan=False)))


def detection(**options: Any) -> dict[str, Any]:
    return dict(evaluated(**options)["details"]["detection"])


def drawn(figure: Figure) -> bytes:
    """Return the figure as PNG, drawn with every warning an error."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(content, format="png", dpi=60)
    return content.getvalue()


def labels_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("supervised", [True, False])
def test_every_figure_names_its_axes_and_draws_all_within_its_edges(supervised: bool) -> None:
    figures = {name: draw(detection(supervised=supervised)) for name, draw in detection_plots.FIGURES.items()}
    assert len(figures) == 4
    for figure in figures.values():
        assert figure is not None
        assert drawn(figure)
        assert figure.get_suptitle()
        assert all(axes.get_xlabel() for axes in figure.axes)
        assert figure.axes[0].get_ylabel()
        inches = figure.get_tightbbox()
        assert inches.min.min() >= 0, inches
        assert (inches.max <= figure.get_size_inches()).all(), inches


def test_the_roc_has_a_logarithmic_panel_with_the_target_and_the_alerts() -> None:
    found = detection()
    figure = detection_plots.roc(found)
    assert figure is not None
    plain, logarithmic = figure.axes
    assert (plain.get_xscale(), logarithmic.get_xscale()) == ("linear", "log")
    assert labels_of(logarithmic) == ["ROC", "chance", "target rate", "alerts"]
    curve, _, target, alerts = logarithmic.lines
    assert curve.get_xdata().min() == detection_plots.LEAST_FPR, "a rate of 0 has no place on a logarithmic axis"
    assert set(target.get_xdata()) == {0.05}
    point = found["operating_point"]
    assert (alerts.get_xdata()[0], alerts.get_ydata()[0]) == (point["fpr"], point["recall"])
    # the alerts lie on the curve
    assert np.interp(point["fpr"], *np.array(found["roc"]).T) == pytest.approx(point["recall"], abs=0.02)


def test_precision_and_recall_show_what_chance_gives() -> None:
    found = detection()
    figure = detection_plots.precision_recall(found)
    assert figure is not None
    (axes,) = figure.axes
    share = next(line for line in axes.lines if line.get_label() == "share of anomalies")
    assert share.get_ydata()[0] == pytest.approx(0.3, abs=0.03)


def test_the_histogram_shows_both_sides_and_the_threshold() -> None:
    found = detection()
    (axes,) = detection_plots.score_histogram(found).axes
    shown = labels_of(axes)
    assert [label.split(" (")[0] for label in shown] == ["normal", "anomalies", "threshold of alerts"]
    assert axes.lines[0].get_xdata()[0] == found["threshold"]
    (one,) = detection_plots.score_histogram(detection(anomalies=0.0)).axes
    assert not [label for label in labels_of(one) if label.startswith("anomalies")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["perfect", "before calibration", "after calibration"]),
        ({"method": "none"}, ["perfect", "before calibration"]),
        ({"supervised": False}, ["perfect", "after calibration"]),
    ],
)
def test_reliability_is_shown_before_and_after_where_scores_claim_a_share(
    options: dict[str, Any], expected: list[str]
) -> None:
    figure = detection_plots.reliability(detection(**options))
    assert figure is not None
    (axes,) = figure.axes
    assert labels_of(axes) == expected


def test_what_one_side_alone_leaves_undefined_is_not_drawn() -> None:
    found = detection(anomalies=0.0)
    names = [name for name, draw in detection_plots.FIGURES.items() if draw(found) is not None]
    assert names == ["scores"]


def test_sentences_tell_where_threshold_and_calibration_come_from() -> None:
    found = detection()
    first, second = detection_plots.sentences(found)
    assert "Normal is 'normal'" in first
    assert f"above a score of {found['threshold_score']:.4g}" in first
    assert "normal and" in first
    assert "isotonic" in second
    assert f"one of {found['held_out_ece']:.4f}" in second
    assert len(detection_plots.sentences(detection(method="none"))) == 1
    (chosen,) = detection_plots.sentences({**detection(method="none"), "objective": "false_positive_rate"})
    assert ", chosen for false positive rate. Fitted on" in chosen
    assert "at most a share of" in first
    assert "at most a share of" not in chosen
    assert "before a threshold was fitted" in detection_plots.sentences(detection(method=None))[0]


def test_the_report_shows_the_figures_and_the_table_of_a_head_of_anomalies(run: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["splits"]["test"]["heads"].append(evaluated())
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    page = write_report(run).read_text(encoding="utf-8")
    for name in detection_plots.FIGURES:
        assert f'alt="{name} of Threat / kind"' in page
    assert "<th>alerts</th>" in page or "alerts</th>" in page
    assert "Normal is 'normal'" in page
    assert "<b>attack" not in page
    assert ">auroc<" in page
