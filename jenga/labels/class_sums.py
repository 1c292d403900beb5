"""The metrics of classes as functions of sums over rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from jenga.labels.certain import Additive, Floats, mean_defined, ratio


def class_sums(predicted: NDArray[np.int64], gold: NDArray[np.int64]) -> Additive:
    """Return accuracy, macro and weighted F1, and quadratic kappa of labelled rows ``(M,)``.

    Rows of one class with one answer are of one kind, so that there are never more kinds than cells of the confusion.
    A code below 0 is that of a class that no training row has; it has no part in the kappa, which is of grades.
    """
    pairs, cells = np.unique(np.stack([gold, predicted], axis=1), axis=0, return_inverse=True)
    gold_of, answer_of = pairs.T
    seen, place = np.unique(gold_of, return_inverse=True)
    size, kinds = len(seen), len(pairs)
    answered = np.searchsorted(seen, answer_of).clip(max=size - 1)
    counts = seen[answered] == answer_of
    rows_of, answers_of, hits_of = (
        csr_array((mask.astype(np.float64), (np.arange(kinds), at)), shape=(kinds, size))
        for mask, at in ((np.ones(kinds, bool), place), (counts, answered), (gold_of == answer_of, place))
    )
    graded = (gold_of >= 0).astype(np.float64)
    g, p = gold_of * graded, answer_of * graded
    grades = csr_array(np.stack([graded, g, p, g * g, p * p, (g - p) ** 2], axis=1))
    return Additive(cells.reshape(-1), csr_array(hstack([rows_of, answers_of, hits_of, grades])), _metrics)


def _metrics(sums: Floats) -> dict[str, Floats]:
    by_class, grades = sums[:, :-6], sums[:, -6:]
    rows, answers, hits = np.split(by_class, 3, axis=1)
    # Only classes that occur in the targets count.
    f1 = np.where(rows > 0, 2 * hits / np.maximum(rows + answers, 1), np.nan)
    total = rows.sum(1)
    n, g, p, g2, p2, off = grades.T
    # Cohen's kappa with quadratic weights: the squared distances found, over those of independent answers.
    expected = g2 + p2 - 2 * ratio(g * p, n)
    return {
        "accuracy": ratio(hits.sum(1), total),
        "macro_f1": mean_defined(f1),
        "weighted_f1": ratio(np.where(rows > 0, f1 * rows, 0.0).sum(1), total),
        "kappa": np.where(expected > 1e-9, 1 - ratio(off, expected), np.nan),
    }
