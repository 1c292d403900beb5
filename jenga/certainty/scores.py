"""How good probabilities are: negative log-likelihood, Brier score, expected calibration error."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from jenga.labels.certain import Evidence, Floats

BINS = 15
MOST_ROWS = 20_000
"""Rows, evenly spread, by which the calibration error of each class is told; ranking more of them takes seconds."""


def probabilities(logits: Floats, *, independent: bool) -> Floats:
    """Return the probabilities ``(N, K)`` that logits stand for: of each by itself, or of one of the K."""
    exact = torch.from_numpy(logits)
    found: Floats = (exact.sigmoid() if independent else exact.softmax(1)).numpy()
    return found


def quality(evidence: Evidence) -> dict[str, float]:
    """Return ``nll``, ``brier``, ``ece`` and, of classes, ``classwise_ece`` of the probabilities of some evidence.

    - ``nll``: the mean negative logarithm of the probability of what is right (of items: of each answer).
    - ``brier``: the mean squared distance of probabilities and truth, summed over classes (Brier 1950); of items of
      each answer.
    - ``ece``: of the likeliest class how far its probability is from how often it is right (Guo et al. 2017), in 15
      bins of equally many rows; of items of the probability of a yes, over all answers.
    - ``classwise_ece``: the mean over classes of the same for each class against all others (Kull et al. 2019).
    """
    if evidence.independent:
        known = ~np.isnan(evidence.gold)
        logits, wanted = evidence.logits[known], evidence.gold[known].astype(np.float64)
        shares = probabilities(logits, independent=True)
        return {
            "nll": float(np.mean(np.logaddexp(0.0, logits) - wanted * logits)),
            "brier": float(np.mean((shares - wanted) ** 2)),
            "ece": calibration_error(shares, wanted),
        }
    gold, rows = evidence.gold.astype(np.int64), np.arange(len(evidence.gold))
    logs = torch.from_numpy(evidence.logits).log_softmax(1)
    losses = -logs.numpy()[rows, gold]
    shares = logs.exp_().numpy()
    best = shares.argmax(1)
    return {
        "nll": float(losses.mean()),
        "brier": float(np.mean(np.einsum("nk,nk->n", shares, shares) - 2 * shares[rows, gold] + 1)),
        "ece": calibration_error(shares[rows, best], (best == gold).astype(np.float64)),
        "classwise_ece": _classwise(shares, gold),
    }


def _classwise(shares: Floats, gold: NDArray[np.int64]) -> float:
    if len(gold) > MOST_ROWS:
        kept = np.linspace(0, len(gold) - 1, MOST_ROWS).astype(np.int64)
        shares, gold = shares[kept], gold[kept]
    by_class = np.ascontiguousarray(shares.T)
    errors = [calibration_error(own, (gold == code).astype(np.float64)) for code, own in enumerate(by_class)]
    return float(np.mean(errors))


def calibration_error(shares: Floats, hits: Floats) -> float:
    """Return how far probabilities ``(N,)`` are from the truth, 0 or 1, in 15 bins of equally many, weighted by them.

    Equal probabilities are never parted, so that the order of rows does not matter.
    """
    order = np.argsort(shares, kind="stable")
    ranked = shares[order]
    cuts = np.unique(np.searchsorted(ranked, ranked[np.arange(1, BINS) * len(ranked) // BINS]))
    starts = np.append(0, cuts[cuts > 0])
    gaps = np.add.reduceat(ranked, starts) - np.add.reduceat(hits[order], starts)
    return float(np.abs(gaps).sum() / len(ranked))
