"""How well the probabilities of answers rank rows, and whether they mean what they say: points of curves, for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.types import IGNORE_INDEX

N_BINS = 15
MAX_RANKED = 8
"""Labels that have curves: more of them could not be told apart."""
_POINTS = 60

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def reliability(scores: Floats, right: Mask) -> list[tuple[float, float, int]]:
    """Return the mean score, the share of `right` and the number of rows of each of 15 bins of [0, 1] that has rows."""
    bins = np.minimum((scores * N_BINS).astype(int), N_BINS - 1)
    rows = np.bincount(bins, minlength=N_BINS)
    means, shares = (np.bincount(bins, each, N_BINS) / np.maximum(rows, 1) for each in (scores, right))
    return [(float(means[at]), float(shares[at]), int(rows[at])) for at in np.flatnonzero(rows)]


def calibration_error(scores: Floats, right: Mask) -> float:
    """Return the expected calibration error of scores in [0, 1] over 15 bins of one width (Guo et al. 2017, eq. 3)."""
    bins = reliability(scores, right)
    return float(sum(abs(mean - share) * rows for mean, share, rows in bins) / len(scores))


def curves_of(probable: tuple[Floats, Mask], columns: Iterable[tuple[str, Floats, Mask]]) -> dict[str, Any]:
    """Return ``reliability`` and, of the labels with the most rows, ``ranked``.

    probable: how probable answers are said to be, and which are right. columns: each label's name with the scores of
    the rows that are labelled for it, and which of them have it; one that all or none have ranks nothing.
    """
    scores, right = probable
    both = [each for each in columns if 0 < each[2].sum() < len(each[2])]
    shown = sorted(both, key=lambda each: -int(each[2].sum()))[:MAX_RANKED]
    return {
        "reliability": [[round(mean, 4), round(share, 4), rows] for mean, share, rows in reliability(scores, right)],
        "ranked": [_ranked(*each) for each in both if any(each is other for other in shown)],
        "labels": len(both),
    }


def class_curves(names: Sequence[str], shares: Floats, gold: NDArray[np.int64]) -> dict[str, Any] | None:
    """Return `curves_of` of rows with one of K classes each, by their probabilities ``(M, K)``.

    gold ``(M,)``: -100 where there is no label, which has no part in them; None where no row has one.
    """
    known = gold != IGNORE_INDEX
    if not known.any():
        return None
    shares, gold = shares[known], gold[known]
    columns = ((name, shares[:, at], gold == at) for at, name in enumerate(names))
    return curves_of((shares.max(1), shares.argmax(1) == gold), columns)


def _ranked(name: str, scores: Floats, wanted: Mask) -> dict[str, Any]:
    """Return the points of ROC and of precision over recall of one label, and the areas under both.

    Equal scores are one step, so that their order among themselves decides nothing.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(wanted[order])[last].astype(float)
    alarms = last + 1 - hits
    recall = np.append(0.0, hits / hits[-1])
    rates = np.append(0.0, alarms / alarms[-1])
    precision = hits / (hits + alarms)
    return {
        "label": name,
        "support": int(wanted.sum()),
        "roc_auc": float(np.trapezoid(recall, rates)),
        "average_precision": float(np.sum(np.diff(recall) * precision)),
        "roc": _thinned(rates, recall),
        "precision_recall": _thinned(recall, np.append(precision[:1], precision)),
    }


def _thinned(xs: Floats, ys: Floats) -> list[list[float]]:
    """Return about 60 points of a curve, both ends among them, spread evenly along its way."""
    way = np.append(0.0, np.cumsum(np.abs(np.diff(xs)) + np.abs(np.diff(ys))))
    at = np.unique(
        np.append(np.searchsorted(way, np.linspace(0, way[-1], _POINTS)), [0, len(xs) - 1]).clip(max=len(xs) - 1)
    )
    return [[round(x, 4), round(y, 4)] for x, y in zip(xs[at].tolist(), ys[at].tolist(), strict=True)]
