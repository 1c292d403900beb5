"""From a raw anomaly score to a number in [0, 1], and to the score from which a row raises an alert."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jenga.labels.curves import calibration_error

Floats = NDArray[np.float64]
Method = Literal["auto", "isotonic", "platt", "temperature", "none"]

N_FOLDS = 5
N_KNOTS = 256
ISOTONIC_ROWS, ISOTONIC_SIDE = 1000, 100
"""Fewer validation rows, or fewer on one side, and a step function follows their noise (Niculescu-Mizil & Caruana 2005,
section 5)."""

_KINDS = ("unfitted", "none", "platt", "temperature", "isotonic", "quantile")


class Calibrator(nn.Module):
    """A strictly increasing map of the raw scores of one head, and its threshold; all of it buffers.

    `log_odds`: raw scores are log-odds of being no normal row; else they are logarithms of an error. `kind` tells what
    was fitted: `isotonic` is centred (Oron & Flournoy 2017): each flat piece is one point, with straight lines between
    the points, so that no two scores become equal. `quantile`, where no anomaly was there to calibrate with, is the
    share of the normal rows that score lower; it is no probability.
    """

    code: torch.Tensor
    line: torch.Tensor
    knots: torch.Tensor
    limit: torch.Tensor
    rows: torch.Tensor
    held_out: torch.Tensor

    def __init__(self, *, log_odds: bool) -> None:
        super().__init__()
        self.log_odds = log_odds
        nan = float("nan")
        self.register_buffer("code", torch.tensor(0))
        self.register_buffer("line", torch.tensor([1.0, 0.0]))
        self.register_buffer("knots", torch.full((2, N_KNOTS), nan))
        self.register_buffer("limit", torch.tensor(nan))
        self.register_buffer("rows", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("held_out", torch.tensor(nan))

    @property
    def kind(self) -> str:
        """What was fitted; ``unfitted`` before `fit`."""
        return _KINDS[int(self.code)]

    @property
    def threshold(self) -> float | None:
        """The raw score above which a row raises an alert; None before `fit`."""
        return None if self.kind == "unfitted" else float(self.limit)

    @property
    def is_probability(self) -> bool:
        """Whether the calibrated score claims to be the share of anomalies among rows that score like it."""
        return self.kind in ("platt", "temperature", "isotonic") or (self.log_odds and self.kind != "quantile")

    @property
    def fitted_on(self) -> tuple[int, int]:
        """The numbers of normal and of anomalous rows that `fit` saw."""
        normal, anomalous = self.rows.tolist()
        return normal, anomalous

    @property
    def held_out_ece(self) -> float | None:
        """Calibration error over rows that were left out of the fit, in five folds; None where there were too few."""
        value = float(self.held_out)
        return None if np.isnan(value) else value

    def fit(self, scores: Floats, anomalous: NDArray[np.bool_], *, method: Method, target_fpr: float) -> None:
        """Fit the map to raw scores ``(M,)`` and the threshold to those of the normal rows.

        Raises ValueError where no row is normal.
        """
        normal = scores[~anomalous]
        self.limit.fill_(alert_threshold(normal, target_fpr))
        # Rounded up: rounded down it could let one more normal row through than the target allows.
        if float(self.limit) < alert_threshold(normal, target_fpr):
            self.limit.copy_(torch.nextafter(self.limit, torch.full_like(self.limit, float("inf"))))
        self.rows.copy_(torch.tensor([len(normal), int(anomalous.sum())]))
        self._fit_map(scores, anomalous, method)
        if self.kind in ("platt", "temperature", "isotonic"):
            self.held_out.fill_(self._held_out_ece(scores, anomalous, method))

    def alert_from(self, score: float, *, below: float) -> None:
        """Let rows raise an alert from a raw `score` on, instead of where `fit` has it.

        below: the highest score that is to raise none, which decides where float32 cannot tell the two apart.
        """
        # Alerts lie above the limit, so that it has to be below the score.
        limit = torch.tensor(score, dtype=torch.float32)
        if float(limit) >= score:
            limit = torch.nextafter(limit, torch.tensor(-torch.inf))
        if float(limit) < below:
            limit = torch.nextafter(limit, torch.tensor(torch.inf))
        self.limit.copy_(limit)

    def _fit_map(self, scores: Floats, anomalous: NDArray[np.bool_], method: Method) -> None:
        if method == "none":
            kind = "none"
        elif not anomalous.any():
            kind = "quantile"
            self._keep(*_quantile_knots(scores))
        else:
            kind = chosen_method(anomalous) if method == "auto" else method
            if kind == "isotonic":
                self._keep(*_isotonic_knots(scores, anomalous))
            else:
                self.line.copy_(torch.tensor(_logistic_line(scores, anomalous, intercept=kind == "platt")))
        self.code.fill_(_KINDS.index(kind))

    def _keep(self, places: Floats, values: Floats) -> None:
        places, values = places.astype(np.float32), values.astype(np.float32)
        # Rounded to float32, two knots may fall together; of those the last stays.
        last = np.append(np.diff(places) > 0, True)
        places, values = places[last], values[last]
        rising = np.append(True, np.diff(np.maximum.accumulate(values)) > 0)
        kept = np.flatnonzero(rising)
        if len(kept) > N_KNOTS:
            kept = kept[np.unique(np.linspace(0, len(kept) - 1, N_KNOTS).round().astype(int))]
        self.knots.fill_(float("nan"))
        self.knots[:, : len(kept)] = torch.from_numpy(np.stack([places[kept], values[kept]]))

    def _held_out_ece(self, scores: Floats, anomalous: NDArray[np.bool_], method: Method) -> float:
        if min(anomalous.sum(), (~anomalous).sum()) < N_FOLDS:
            return float("nan")
        fold, held_out = np.empty(len(scores), dtype=int), np.empty(len(scores))
        for side in (anomalous, ~anomalous):
            fold[side] = np.arange(side.sum()) % N_FOLDS
        for each in range(N_FOLDS):
            part = Calibrator(log_odds=self.log_odds)
            part._fit_map(scores[fold != each], anomalous[fold != each], method)
            held_out[fold == each] = part.calibrated(scores[fold == each])
        return calibration_error(held_out, anomalous)

    def calibrated(self, scores: Floats) -> Floats:
        """Return the calibrated scores of raw scores ``(M,)``; what those stand for, with `none` and before `fit`."""
        match self.kind:
            case "platt" | "temperature":
                slope, intercept = self.line.tolist()
                return _sigmoid(slope * scores + intercept)
            case "isotonic" | "quantile":
                return self._interpolate(scores)
            case _:
                return self.uncalibrated(scores)

    def uncalibrated(self, scores: Floats) -> Floats:
        """Return what raw scores ``(M,)`` stand for: 1 - p(normal), or the error itself."""
        return _sigmoid(scores) if self.log_odds else np.exp(scores)

    def _interpolate(self, scores: Floats) -> Floats:
        knots = self.knots.cpu().double().numpy()
        places, values = knots[:, ~np.isnan(knots[0])]
        width = max(float(places[-1] - places[0]), 1e-6)
        # Beyond the knots the map goes on towards 0 and 1 and never gets there, so that ranks stay.
        below = values[0] / (1 + np.maximum(places[0] - scores, 0) / width)
        above = 1 - (1 - values[-1]) / (1 + np.maximum(scores - places[-1], 0) / width)
        between = np.interp(scores, places, values)
        found: Floats = np.where(scores < places[0], below, np.where(scores > places[-1], above, between))
        return found


def alert_threshold(normal: Floats, target_fpr: float) -> float:
    """Return the lowest raw score that at most a share of `target_fpr` of the scores ``(M,)`` of normal rows exceeds.

    Raises ValueError without rows.
    """
    if not len(normal):
        raise ValueError("a threshold needs the score of at least one normal row")
    ranked = np.sort(normal)[::-1]
    allowed = int(np.floor(target_fpr * len(ranked) + 1e-9))
    return float(ranked[min(allowed, len(ranked) - 1)])


def chosen_method(anomalous: NDArray[np.bool_]) -> Literal["isotonic", "platt"]:
    """Return the method that ``auto`` stands for with these rows."""
    side = min(int(anomalous.sum()), int((~anomalous).sum()))
    return "isotonic" if len(anomalous) >= ISOTONIC_ROWS and side >= ISOTONIC_SIDE else "platt"


def _sigmoid(scores: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(scores), dtype=np.float64)


def _logistic_line(scores: Floats, anomalous: NDArray[np.bool_], *, intercept: bool) -> list[float]:
    """Return slope and intercept of the log-odds, by maximum likelihood with Platt's targets (Platt 1999, section 2.2).

    The targets lie a little inside (0, 1), so that the slope stays finite where the sides do not overlap.
    """
    from scipy.optimize import minimize

    positives, negatives = anomalous.sum(), (~anomalous).sum()
    targets = np.where(anomalous, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    shift, scale = (scores.mean() if intercept else 0.0), max(float(scores.std()), 1e-12)
    standard = (scores - shift) / scale

    def loss(parameters: Floats) -> tuple[float, Floats]:
        odds = parameters[0] * standard + parameters[1]
        value = np.mean(np.logaddexp(0, odds) - targets * odds)
        excess = _sigmoid(odds) - targets
        return float(value), np.array([np.mean(excess * standard), np.mean(excess) if intercept else 0.0])

    bounds = [(1e-3, 1e4), (None, None) if intercept else (0.0, 0.0)]  # a slope of 0 would make all rows equal
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return [float(found[0] / scale), float(found[1] - found[0] * shift / scale)]


def _isotonic_knots(scores: Floats, anomalous: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    from sklearn.isotonic import isotonic_regression

    places, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    shares = np.bincount(which, weights=anomalous) / counts
    steps = isotonic_regression(shares, sample_weight=counts.astype(np.float64))
    block = np.cumsum(np.append(False, np.diff(steps) > 0))
    weight = np.bincount(block, weights=counts)
    centres = np.bincount(block, weights=places * counts) / weight
    values = np.bincount(block, weights=steps * counts) / weight
    # No number of rows proves a share of exactly 0 or 1.
    least = 0.5 / (len(scores) + 1)
    return centres, np.clip(values, least, 1 - least)


def _quantile_knots(normal: Floats) -> tuple[Floats, Floats]:
    """Return places of the empirical distribution function, most of them in its upper tail, where alerts are made."""
    tail = 1 - np.geomspace(0.5, 1 / max(len(normal), 2), N_KNOTS // 2)
    shares = np.unique(np.concatenate([np.linspace(0, 1, N_KNOTS - len(tail)), tail]))
    return np.quantile(normal, shares), (shares * len(normal) + 0.5) / (len(normal) + 1)
