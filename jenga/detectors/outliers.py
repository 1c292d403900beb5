"""Rows that lie far from all others: the distance to the k-th nearest neighbour (Ramaswamy et al. 2000)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.detectors.robust import deviation

N_NEIGHBOURS = 10
N_REFERENCES = 5_000
Z = 6.0


@dataclass(frozen=True)
class Outliers:
    """`rows`: int64, the farthest first. `scores`: float64 ``(M,)``, robust z of the logarithm of the distance."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def outliers(
    features: NDArray[Any],
    *,
    neighbours: int = N_NEIGHBOURS,
    references: int = N_REFERENCES,
    z: float = Z,
    seed: int = 0,
) -> Outliers:
    """Return the rows whose `neighbours`-th nearest row is much farther than is usual.

    features: ``(M, F)``, finite, scaled alike. references: rows that are drawn to be neighbours where there are more,
    so that time grows with M alone. Nothing is found among fewer rows than twice `neighbours`.
    """
    from sklearn.neighbors import NearestNeighbors

    features = np.asarray(features)
    if not np.isfinite(features).all():
        raise ValueError("features hold NaN or infinity; fill or scale them first")
    if len(features) < 2 * neighbours:
        return Outliers(np.empty(0, np.int64), np.zeros(len(features)))
    drawn = np.random.default_rng(seed).permutation(len(features))[:references]
    # One neighbour more, as a reference is nearest to itself.
    distances, at = NearestNeighbors(n_neighbors=neighbours + 1).fit(features[drawn]).kneighbors(features)
    itself = (drawn[at] == np.arange(len(features))[:, None]).any(axis=1)
    far = np.where(itself, distances[:, -1], distances[:, -2])
    tiny = np.quantile(far[far > 0], 0.01) if (far > 0).any() else 1.0
    logs = np.log(np.maximum(far, tiny))
    scores = (logs - np.median(logs)) / max(deviation(logs), 0.05)
    rows = np.flatnonzero(scores > z)
    return Outliers(rows[np.argsort(-scores[rows], kind="stable")], scores)
