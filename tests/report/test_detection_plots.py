"""Figures of a head of anomalies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import pytest

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


def figures_of(**options: Any) -> dict[str, Element]:
    """The figures by their titles, those of ROC with the scale of their axis."""
    drawn = detection_plots.figures(detection(**options))
    names = ["".join(each.find("svg").get("aria-label", "")) for each in drawn]  # type: ignore[union-attr]
    assert len(set(names)) == len(names)
    return dict(zip(names, drawn, strict=True))


def legend(figure: Element) -> list[str]:
    return ["".join(each.itertext()) for each in figure.iter("li")]


def figure(name: str, **options: Any) -> Element:
    return next(drawn for key, drawn in figures_of(**options).items() if key.startswith(name))


def test_the_roc_is_drawn_on_a_plain_and_a_logarithmic_axis_with_the_target_and_the_alerts() -> None:
    found = detection()
    plain, logarithmic = (detection_plots.roc(found, scale) for scale in ("linear", "log"))
    assert (plain.x_range, logarithmic.x_range) == ((0.0, 1.0), (detection_plots.LEAST_FPR, 1.0))
    assert legend(logarithmic.drawn()) == ["ROC", "chance", "target rate", "alerts"]
    # the alerts lie on the curve
    point = found["operating_point"]
    assert np.interp(point["fpr"], *np.array(found["roc"]).T) == pytest.approx(point["recall"], abs=0.02)


def test_precision_and_recall_show_what_chance_gives() -> None:
    assert legend(figure("Precision over recall")) == ["precision", "share of anomalies", "alerts"]


def test_the_histogram_shows_both_sides_and_the_threshold() -> None:
    shown = [label.split(" (")[0] for label in legend(figure("Scores"))]
    assert shown == ["normal", "anomalies", "threshold of alerts"]
    one = legend(figure("Scores", anomalies=0.0))
    assert not [label for label in one if label.startswith("anomalies")]


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
    assert legend(figure("Reliability", **options)) == expected


def test_what_one_side_alone_leaves_undefined_is_not_drawn() -> None:
    (name,) = figures_of(anomalies=0.0)
    assert name.startswith("Scores of normal rows")


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
    for title in ("ROC: recall over false alarm rate", "Scores of normal rows and anomalies"):
        assert f"<figcaption>{title}</figcaption>" in page
    assert "<th>alerts</th>" in page or "alerts</th>" in page
    assert "Normal is 'normal'" in page
    assert "<b>attack" not in page
    assert ">auroc<" in page
