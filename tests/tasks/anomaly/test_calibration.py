"""Raw scores to [0, 1], the threshold of alerts, and how far a score is from the share that it claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import seeds
import torch
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from jenga.labels.curves import calibration_error, reliability
from jenga.tasks.anomaly.calibration import (
    ISOTONIC_ROWS,
    ISOTONIC_SIDE,
    N_KNOTS,
    Calibrator,
    Method,
    alert_threshold,
    chosen_method,
)

METHODS: tuple[Method, ...] = ("isotonic", "platt", "temperature")


def scored(rows: int = 2000, *, factor: float = 3.0, seed: int = 0) -> tuple[Any, Any]:
    """Log-odds that are `factor` times too sure, and which rows are anomalous."""
    rng = np.random.default_rng(seeds.derived(seed))
    odds = rng.normal(-1, 2, rows)
    anomalous = rng.random(rows) < 1 / (1 + np.exp(-odds))
    return factor * odds, anomalous


def fitted(scores: Any, anomalous: Any, method: Method, *, log_odds: bool = True, fpr: float = 0.01) -> Calibrator:
    calibrator = Calibrator(log_odds=log_odds)
    calibrator.fit(scores, anomalous, method=method, target_fpr=fpr)
    return calibrator


# -------------------------------------------------------------------------------------------------------------- the map


@pytest.mark.parametrize("method", METHODS)
def test_calibration_lowers_the_error_of_scores_that_are_too_sure(method: Method) -> None:
    # Of 15 bins over n rows chance alone makes about sqrt(15 * 0.1 / n), here and in what was fitted: 0.009 each.
    calibrator = fitted(*scored(20_000), method)
    scores, anomalous = scored(20_000, seed=1)
    before = calibration_error(calibrator.uncalibrated(scores), anomalous)
    after = calibration_error(calibrator.calibrated(scores), anomalous)
    assert before > 0.08
    assert after < 0.04


@pytest.mark.parametrize("method", METHODS)
def test_no_two_scores_become_equal(method: Method) -> None:
    """Plain isotonic regression is a step function: its ties would cost the area under the ROC."""
    calibrator = fitted(*scored(300), method)
    grid = np.linspace(-30, 30, 4001)
    values = calibrator.calibrated(grid)
    assert (np.diff(values) > 0).all()
    assert values.min() > 0
    assert values.max() < 1
    scores, anomalous = scored(seed=2)
    assert roc_auc_score(anomalous, calibrator.calibrated(scores)) == roc_auc_score(anomalous, scores)


def test_platt_is_logistic_regression_with_platts_targets() -> None:
    scores, anomalous = scored(200)
    calibrator = fitted(scores, anomalous, "platt")
    n_yes, n_no = anomalous.sum(), (~anomalous).sum()
    yes = np.where(anomalous, (n_yes + 1) / (n_yes + 2), 1 / (n_no + 2))
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    twice = np.concatenate([scores, scores]).reshape(-1, 1)
    model.fit(twice, np.repeat([1, 0], len(scores)), sample_weight=np.concatenate([yes, 1 - yes]))
    # float32 buffers, and two optimisers
    np.testing.assert_allclose(calibrator.line.numpy(), [model.coef_[0, 0], model.intercept_[0]], rtol=1e-3)


def test_temperature_has_no_intercept_and_minimises_the_likelihood() -> None:
    scores, anomalous = scored(5000)
    slope, intercept = fitted(scores, anomalous, "temperature").line.tolist()
    assert intercept == 0
    assert slope == pytest.approx(1 / 3, rel=0.1)
    losses = [log_loss(anomalous, 1 / (1 + np.exp(-each * scores))) for each in (0.9 * slope, slope, 1.1 * slope)]
    assert losses[1] == min(losses)


@pytest.mark.parametrize("method", METHODS)
def test_sides_that_do_not_overlap_give_a_finite_map(method: Method) -> None:
    scores = np.concatenate([np.linspace(-9, -8, 50), np.linspace(8, 9, 50)])
    calibrator = fitted(scores, scores > 0, method)
    low, high = calibrator.calibrated(np.array([-8.5, 8.5]))
    assert 0 < low < 0.1
    assert 0.9 < high < 1


@pytest.mark.parametrize("method", METHODS)
def test_a_detector_that_ranks_the_wrong_way_keeps_its_order(method: Method) -> None:
    scores, anomalous = scored(500)
    values = fitted(-scores, anomalous, method).calibrated(np.array([-5.0, 0.0, 5.0]))
    assert (np.diff(values) > 0).all()


def test_isotonic_goes_through_the_shares_of_its_blocks() -> None:
    scores = np.arange(8.0)
    anomalous = np.array([0, 0, 1, 0, 0, 1, 1, 1], bool)
    calibrator = fitted(scores, anomalous, "isotonic")
    # blocks: 0 and 1 (no anomaly), 2 to 4 (one of three), 5 to 7 (all); no share is ever exactly 0 or 1
    least = 0.5 / 9
    np.testing.assert_allclose(calibrator.calibrated(np.array([0.5, 3.0, 6.0])), [least, 1 / 3, 1 - least], rtol=1e-6)
    np.testing.assert_allclose(calibrator.calibrated(np.array([4.5])), (1 / 3 + 1 - least) / 2, rtol=1e-6)


def test_many_blocks_are_thinned_to_the_room_that_there_is() -> None:
    rng = np.random.default_rng(seeds.derived(0))
    scores = np.sort(rng.normal(size=200_000))
    anomalous = rng.random(len(scores)) < 1 / (1 + np.exp(-scores))
    calibrator = fitted(scores, anomalous, "isotonic")
    assert 50 < int((~calibrator.knots[0].isnan()).sum()) <= N_KNOTS
    assert calibration_error(calibrator.calibrated(scores), anomalous) < 0.01


@pytest.mark.parametrize(
    ("normal", "anomalies", "method"),
    [
        (ISOTONIC_ROWS, ISOTONIC_SIDE, "isotonic"),
        (ISOTONIC_ROWS, ISOTONIC_SIDE - 1, "platt"),
        (ISOTONIC_SIDE - 1, ISOTONIC_ROWS, "platt"),
        (ISOTONIC_ROWS - ISOTONIC_SIDE - 1, ISOTONIC_SIDE, "platt"),
    ],
)
def test_auto_takes_isotonic_where_there_are_rows_for_it(normal: int, anomalies: int, method: str) -> None:
    anomalous = np.repeat([False, True], [normal, anomalies])
    assert chosen_method(anomalous) == method
    assert fitted(np.arange(len(anomalous), dtype=float), anomalous, "auto").kind == method


def test_without_an_anomaly_the_score_is_the_share_of_normal_rows_below() -> None:
    rng = np.random.default_rng(seeds.derived(0))
    normal = rng.normal(size=5000)
    calibrator = fitted(normal, np.zeros(5000, bool), "isotonic", log_odds=False)
    assert calibrator.kind == "quantile"
    assert not calibrator.is_probability
    others = rng.normal(size=5000)
    shares = np.searchsorted(np.sort(normal), others) / 5000
    np.testing.assert_allclose(calibrator.calibrated(others), shares, atol=0.01)
    grid = np.linspace(-9, 9, 2001)
    assert (np.diff(calibrator.calibrated(grid)) > 0).all()
    assert calibrator.calibrated(np.array([calibrator.threshold]))[0] == pytest.approx(0.99, abs=1e-3)


def test_none_leaves_a_probability_or_an_error_as_it_is() -> None:
    scores, anomalous = scored(100)
    np.testing.assert_allclose(fitted(scores, anomalous, "none").calibrated(scores), 1 / (1 + np.exp(-scores)))
    error = fitted(scores, anomalous, "none", log_odds=False)
    np.testing.assert_allclose(error.calibrated(np.log([0.5, 7.0])), [0.5, 7.0])
    assert not error.is_probability


def test_normal_rows_of_one_score_are_no_obstacle() -> None:
    for method in METHODS:
        calibrator = fitted(np.zeros(20), np.arange(20) < 4, method)
        low, at, high = calibrator.calibrated(np.array([-1.0, 0.0, 1.0]))
        assert low < at < high
    assert fitted(np.zeros(20), np.zeros(20, bool), "auto").calibrated(np.array([-1.0, 0.0, 1.0])).tolist() == sorted(
        fitted(np.zeros(20), np.zeros(20, bool), "auto").calibrated(np.array([-1.0, 0.0, 1.0])).tolist()
    )


# -------------------------------------------------------------------------------------------------------- the threshold


@pytest.mark.parametrize("rows", [100, 101, 250, 1000])
@pytest.mark.parametrize("target", [0.01, 0.05, 0.1])
def test_the_threshold_lets_through_as_many_normal_rows_as_the_target_allows(rows: int, target: float) -> None:
    normal = np.random.default_rng(seeds.derived(rows)).permutation(rows).astype(float)
    exceeding = (normal > alert_threshold(normal, target)).sum()
    assert exceeding == int(target * rows + 1e-9)


def test_ties_at_the_threshold_raise_no_alert() -> None:
    normal = np.array([0.0] * 90 + [5.0] * 10)
    assert alert_threshold(normal, 0.05) == 5.0
    assert alert_threshold(normal, 0.1) == 0.0


def test_too_few_normal_rows_put_the_threshold_at_the_highest() -> None:
    assert alert_threshold(np.array([1.0, 3.0, 2.0]), 0.01) == 3.0
    with pytest.raises(ValueError, match="at least one normal row"):
        alert_threshold(np.zeros(0), 0.01)


def test_a_threshold_that_float32_cannot_hold_is_rounded_up() -> None:
    """Rounded down it would raise more alerts than the target allows."""
    normal = np.full(100, 1.0 + 1e-12)
    calibrator = fitted(normal, np.zeros(100, bool), "none")
    assert calibrator.threshold is not None
    assert not (normal > calibrator.threshold).any()


# ------------------------------------------------------------------------------------------------------------ the state


def test_everything_fitted_is_in_the_state_dict() -> None:
    for method in (*METHODS, "none"):
        scores, anomalous = scored(500)
        calibrator = fitted(scores, anomalous, method)  # type: ignore[arg-type]
        again = Calibrator(log_odds=True)
        assert again.threshold is None
        assert again.kind == "unfitted"
        again.load_state_dict({name: tensor.clone() for name, tensor in calibrator.state_dict().items()})
        np.testing.assert_array_equal(again.calibrated(scores), calibrator.calibrated(scores))
        assert (again.kind, again.threshold, again.fitted_on) == (method, calibrator.threshold, calibrator.fitted_on)
        assert again.held_out_ece == calibrator.held_out_ece


def test_a_second_fit_replaces_the_first() -> None:
    calibrator = fitted(*scored(3000), "isotonic")
    calibrator.fit(np.arange(4.0), np.array([False, False, True, True]), method="isotonic", target_fpr=0.5)
    assert int((~calibrator.knots[0].isnan()).sum()) == 2
    assert calibrator.fitted_on == (2, 2)
    assert calibrator.held_out_ece is None


# ------------------------------------------------------------------------------------------------------------ the error


def test_the_error_is_that_of_a_hand_count() -> None:
    scores = np.array([0.1, 0.1, 0.95, 1.0])
    anomalous = np.array([False, True, True, True])
    assert reliability(scores, anomalous) == [(0.1, 0.5, 2), (pytest.approx(0.975), 1.0, 2)]
    assert calibration_error(scores, anomalous) == pytest.approx((0.4 * 2 + 0.025 * 2) / 4)


def test_reliability_has_the_bins_of_sklearn() -> None:
    rng = np.random.default_rng(seeds.derived(0))
    scores = rng.random(400)
    anomalous = rng.random(400) < scores
    shares, means = calibration_curve(anomalous, scores, n_bins=15)
    ours = np.array(reliability(scores, anomalous))
    np.testing.assert_allclose(ours[:, 0], means)
    np.testing.assert_allclose(ours[:, 1], shares)
    assert ours[:, 2].sum() == 400


def test_the_held_out_error_does_not_flatter_as_the_fits_own_does() -> None:
    own, held_out = [], []
    for seed in range(60):
        rng = np.random.default_rng(seeds.derived(seed))
        scores, anomalous = rng.normal(size=60), rng.random(60) < 0.5
        calibrator = fitted(scores, anomalous, "isotonic")
        own.append(calibration_error(calibrator.calibrated(scores), anomalous))
        held_out.append(calibrator.held_out_ece)
    assert np.median(held_out) > 1.05 * np.median(own)


def test_buffers_are_float32_so_that_every_device_has_them() -> None:
    dtypes = {tensor.dtype for tensor in Calibrator(log_odds=True).state_dict().values()}
    assert dtypes == {torch.float32, torch.int64}
