"""Labels that a model's own probabilities speak against: confident learning (Northcutt et al. 2021), by cleanlab."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.detectors.robust import deviation
from jenga.extras import required
from jenga.types import IGNORE_INDEX

ODDS = 15.0
NEAR = 0.04
AGREEMENT = 0.7
"""Share of labels that a model has to agree with, for its disagreement to be about labels; a fifth may be wrong."""
SLACK = 4.0
"""How much likelier a wrong label may be than evenly drawn mistakes make it."""
Z = 6.0


@dataclass(frozen=True)
class LabelErrors:
    """Which of M rows look mislabelled.

    `rows`: their places, int64, worst first: by how much likelier another label is. `scores`: float64 ``(M,)``, the
    probability of each row's own label, NaN where it has none. `suggested`: int64 ``(M,)``, the likeliest label of
    each row.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    suggested: NDArray[np.int64]


def label_errors(
    probabilities: NDArray[Any], labels: NDArray[np.int64], *, odds: float = ODDS, near: float = NEAR
) -> LabelErrors:
    """Return the rows whose label is likely wrong.

    Confident learning tells how many there are: by its joint of labels given and true, calibrated to how often each is
    given. So many rows are taken whose label is least likely beside the likeliest one. Models are sure of another label
    most often where they are wrong themselves: between labels that are alike. So a label must also be `odds` times less
    likely than the likeliest one, and not among the share `near` of labels that are likeliest, where one drawn by
    mistake would lie by just that chance. With ``odds=1, near=0`` all that confident learning counts are returned.

    probabilities: ``(M, K)``, by models that did not learn the row, or only began to: a model that has learnt a wrong
    label by heart believes it. labels: int64 ``(M,)``, 0 to K - 1, -100 where missing. Raises SetupError without
    cleanlab and ValueError for shapes, labels or probabilities that cannot be.
    """
    probabilities, labels = _checked(probabilities, labels)
    known = np.flatnonzero(labels != IGNORE_INDEX)
    scores = np.full(len(labels), np.nan)
    scores[known] = probabilities[known, labels[known]]
    suggested = probabilities.argmax(axis=1) if len(labels) else np.empty(0, np.int64)
    n_classes = len(np.unique(labels[known]))
    if n_classes < 2:
        # One class alone has nothing to be confused with.
        return LabelErrors(known[:0], scores, suggested.astype(np.int64))
    likeliest = probabilities[known].max(axis=1)
    share = scores[known] / np.maximum(likeliest, np.finfo(np.float64).tiny)
    rows = known[np.argsort(share, kind="stable")[: _count(probabilities[known], labels[known])]]
    # Of a model that knows little, what is found is its own noise, and says nothing of that of the labels.
    knows = float(np.mean(suggested[known] == labels[known])) >= AGREEMENT
    noise = len(rows) / len(known) if knows else 0.0
    by_noise = SLACK * noise / (1 - noise) / (n_classes - 1)
    unlikely = scores[rows] <= max(1 / odds, min(by_noise, 1.0)) * probabilities[rows].max(axis=1, initial=0)
    above = (probabilities[rows] > scores[rows, None]).sum(axis=1)
    rows = rows[unlikely & (above >= max(1, math.ceil(near * probabilities.shape[1])))]
    return LabelErrors(rows, scores, suggested.astype(np.int64))


def number_errors(predicted: NDArray[np.float64], values: NDArray[np.float64], *, z: float = Z) -> NDArray[np.float64]:
    """Return by how many robust standard deviations each of M numbers lies from what was predicted, 0 where at most z.

    predicted: ``(M,)``, by models that did not learn the row. values: NaN where missing, which is never an error.
    """
    residuals = values - predicted
    known = residuals[~np.isnan(residuals)]
    spread = deviation(known) if len(known) else 0.0
    if spread == 0:
        return np.zeros(len(values))
    scores = np.nan_to_num(np.abs(residuals - np.median(known)) / spread)
    return np.where(scores > z, scores, 0.0)


def _checked(probabilities: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities {probabilities.shape} and labels {labels.shape}; expected (M, K) and (M,)")
    if not np.isfinite(probabilities).all():
        raise ValueError(f"{(~np.isfinite(probabilities)).any(axis=1).sum()} rows have a probability that is no number")
    wrong = labels[(labels != IGNORE_INDEX) & ((labels < 0) | (labels >= probabilities.shape[1]))]
    if len(wrong):
        raise ValueError(
            f"label {wrong[0]}; expected 0 to {probabilities.shape[1] - 1}, or {IGNORE_INDEX} where missing"
        )
    return probabilities, labels


def _count(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> int:
    """Return how many labels confident learning counts as wrong."""
    count = required("cleanlab.count", extra="audit", need="label errors need cleanlab")
    # Columns of classes without a row have no threshold of their own; cleanlab wants each class to have one.
    present = np.unique(labels)
    shares = probabilities[:, present]
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        counted = count.num_label_issues(
            np.searchsorted(present, labels), shares, estimation_method="off_diagonal_calibrated"
        )
    return int(counted)
