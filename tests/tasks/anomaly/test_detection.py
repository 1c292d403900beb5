"""How well anomalies are told from normal rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import seeds
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from jenga.labels.curves import calibration_error
from jenga.tasks.anomaly.calibration import Calibrator, Method
from jenga.tasks.anomaly.detection import (
    HISTOGRAM_BINS,
    MAX_CURVE_POINTS,
    Detection,
    declared_detection_metrics,
    detection_details,
    detection_metrics,
)
from jenga.types import HeadSpace

LABELS = ("dos", "normal", "probe")
SPACE = HeadSpace("t", "threat", "class", 3, LABELS)


def detection(
    scores: Any,
    targets: Any,
    predictions: Any = None,
    *,
    supervised: bool = True,
    method: Method | None = None,
    **options: Any,
) -> Detection:
    """Rows with 'normal' as class 1; `method`: fit the calibrator to these rows first."""
    scores, targets = np.asarray(scores, float), np.asarray(targets)
    calibrator = Calibrator(log_odds=supervised)
    target_fpr = options.get("target_fpr", 0.1)
    if method is not None:
        calibrator.fit(scores, targets != 1, method=method, target_fpr=target_fpr)
    return Detection(
        space=SPACE, normal=1, supervised=supervised, targets=targets, scores=scores, anomalous=targets != 1,
        predictions=np.asarray(targets if predictions is None else predictions), target_fpr=target_fpr,
        calibrator=calibrator,
    )  # fmt: skip


def random_rows(rows: int = 400, *, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seeds.derived(seed))
    targets = rng.choice(3, rows, p=(0.2, 0.6, 0.2))
    return rng.normal(size=rows) + 2.0 * (targets != 1), targets, rng.choice(3, rows)


def test_the_numbers_are_those_of_sklearn() -> None:
    scores, targets, predictions = random_rows()
    found = detection(scores, targets, predictions, method="platt")
    metrics = detection_metrics(found)
    alerts = scores > found.calibrator.threshold
    precision, recall, f1, _ = precision_recall_fscore_support(targets != 1, alerts, average="binary")
    assert metrics["auroc"] == pytest.approx(roc_auc_score(targets != 1, scores))
    assert metrics["auprc"] == pytest.approx(average_precision_score(targets != 1, scores))
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == pytest.approx((precision, recall, f1))
    assert metrics["fpr"] == pytest.approx(alerts[targets == 1].mean())
    assert metrics["fpr"] <= 0.1
    assert metrics["accuracy"] == (predictions == targets).mean()
    for code, label in enumerate(LABELS):
        assert metrics[f"{label}_recall"] == (predictions[targets == code] == code).mean()
    assert metrics["ece"] == calibration_error(found.calibrator.calibrated(scores), targets != 1)
    assert metrics["uncalibrated_ece"] == calibration_error(1 / (1 + np.exp(-scores)), targets != 1)


def test_recall_at_a_false_alarm_rate_is_the_best_that_the_ranking_allows() -> None:
    scores, targets, _ = random_rows()
    found = detection_metrics(detection(scores, targets))["recall_at_fpr_0.1"]
    normal, anomalies = scores[targets == 1], scores[targets != 1]
    best = max((anomalies > cut).mean() for cut in np.sort(scores) if (normal > cut).mean() <= 0.1)
    assert found == best


def test_rank_metrics_do_not_move_with_the_calibration() -> None:
    scores, targets, _ = random_rows()
    ranks = [detection_metrics(detection(scores, targets, method=method)) for method in ("isotonic", "platt", "none")]  # type: ignore[arg-type]
    for name in ("auroc", "auprc", "recall_at_fpr_0.1", "f1", "fpr"):
        assert len({each[name] for each in ranks}) == 1, name


def test_an_unsupervised_head_is_judged_by_its_alerts() -> None:
    found = detection([-1.0, 0.0, 3.0, 4.0], [1, 0, 1, 2], supervised=False, target_fpr=0.5)
    metrics = detection_metrics(found)
    assert found.threshold == -1.0, "these rows' own before anything is fitted"
    assert metrics["accuracy"] == 0.75
    assert (metrics["normal_recall"], metrics["dos_recall"], metrics["probe_recall"]) == (0.5, 1.0, 1.0)
    assert "ece" not in metrics, "an error is no probability"
    assert "uncalibrated_ece" not in metrics


@pytest.mark.parametrize("supervised", [True, False])
def test_before_calibration_every_name_but_its_own_can_pick_a_checkpoint(supervised: bool) -> None:
    scores, targets, predictions = random_rows()
    metrics = detection_metrics(detection(scores, targets, predictions, supervised=supervised))
    missing = {metric.name for metric in declared_detection_metrics(LABELS, 0.1)} - set(metrics)
    assert missing == (set() if supervised else {"ece", "uncalibrated_ece"})


def test_errors_and_false_alarms_are_better_low_and_all_else_high() -> None:
    declared = declared_detection_metrics(["normal", "loss", "fpr"], 0.1)
    assert {metric.name for metric in declared if metric.greater_is_better is False} == {
        "fpr", "ece", "uncalibrated_ece",
    }  # fmt: skip
    assert {"loss_recall", "fpr_recall"} < {metric.name for metric in declared if metric.greater_is_better}


@pytest.mark.parametrize("code", [0, 1])
def test_what_one_side_alone_leaves_undefined_is_left_out_and_told(code: int) -> None:
    scores = np.linspace(-1, 1, 20)
    found = detection(scores, np.full(20, code))
    metrics = detection_metrics(found)
    assert not {"auroc", "auprc", "recall_at_fpr_0.1", "ece", "uncalibrated_ece"} & set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    assert ("fpr" in metrics) == (code == 1)
    [warning] = [each for each in detection_details(found)["warnings"] if "rank metrics" in each]
    assert warning.startswith("no normal row" if code == 0 else "no anomaly")


def test_no_labelled_row_gives_nothing_and_says_so() -> None:
    found = detection([], np.zeros(0, int))
    assert detection_metrics(found) == {}
    assert detection_details(found) == {"warnings": ["no labelled row"]}


def test_details_hold_the_curves_in_strict_json_of_bounded_size() -> None:
    scores, targets, predictions = random_rows(20_000)
    for supervised, method in ((True, "isotonic"), (False, "isotonic"), (True, None)):
        found = detection(scores, targets, predictions, supervised=supervised, method=method)  # type: ignore[arg-type]
        details = detection_details(found)
        assert len(json.dumps(details, allow_nan=False)) < 40_000
        curves = details["detection"]
        for name in ("roc", "precision_recall"):
            points = np.array(curves[name])
            assert len(points) <= MAX_CURVE_POINTS + 2
            assert (np.diff(points[:, 0]) >= 0).all()
        assert curves["roc"][0] == [0.0, 0.0]
        assert curves["roc"][-1] == [1.0, 1.0]
        thinned = np.trapezoid(*np.array(curves["roc"]).T[::-1])
        assert thinned == pytest.approx(roc_auc_score(targets != 1, scores), abs=2e-3)
        assert len(curves["histogram"]["normal"]) == HISTOGRAM_BINS
        assert sum(curves["histogram"]["normal"]) + sum(curves["histogram"]["anomalous"]) == 20_000
        assert set(curves["reliability"]) == {
            *(["before"] if supervised else []), *(["after"] if method else []),
        }  # fmt: skip


def test_the_table_has_the_share_of_alerts_of_each_class() -> None:
    found = detection([0.0, 5.0, 5.0, -5.0], [1, 0, 0, 2], [1, 0, 1, 1])
    table = {row["label"]: row for row in detection_details(found)["per_label"]}
    assert {label: row["alerts"] for label, row in table.items()} == {"dos": 1.0, "normal": 0.0, "probe": 0.0}
    assert table["dos"]["recall"] == 0.5
    unsupervised = detection_details(detection([0.0, 5.0], [1, 0], supervised=False))
    assert unsupervised["per_label"] == [
        {"label": "dos", "support": 1, "alerts": 1.0},
        {"label": "normal", "support": 1, "alerts": 0.0},
        {"label": "probe", "support": 0, "alerts": None},
    ]
    assert "confusion" not in unsupervised
    one_answer = detection_details(detection([0.0, 5.0], [1, 0], [1, 1]))
    assert not [warning for warning in one_answer["warnings"] if "one class only" in warning]


def test_a_quantile_score_says_that_it_is_no_probability() -> None:
    calibrator = Calibrator(log_odds=True)
    calibrator.fit(np.linspace(-1, 1, 200), np.zeros(200, bool), method="auto", target_fpr=0.1)
    scores, targets, _ = random_rows()
    found = Detection(SPACE, 1, True, targets, targets, scores, targets != 1, 0.1, calibrator)
    assert "ece" not in detection_metrics(found)
    details = detection_details(found)
    assert any("no anomaly among the validation rows" in warning for warning in details["warnings"])
    assert set(details["detection"]["reliability"]) == {"before"}


def test_a_detector_that_collapsed_is_noticed() -> None:
    details = detection_details(detection(np.full(10, 2.0), [1, 0] * 5, supervised=False))
    assert "all rows have nearly one score: the detector has collapsed" in details["warnings"]
