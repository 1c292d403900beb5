"""How far the values of some rows lie from those of others: the population stability index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAJOR_PSI = 0.25
MODERATE_PSI = 0.1
CHANCE_PSI = 0.05
"""PSI expected of two samples of the same rows, above which there are too few rows to judge."""
N_BINS = 10


def population_stability(before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    """Return sum((p - q) * log(p / q)) over bins, half a row added to each, so that an empty bin is no infinity."""
    p = (before + 0.5) / (before.sum() + 0.5 * len(before))
    q = (after + 0.5) / (after.sum() + 0.5 * len(after))
    return float(((p - q) * np.log(p / q)).sum())


def by_chance(before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    """Return the PSI to expect of two samples of the same rows, by how many there are and how many bins hold any."""
    return chance(before, after, int(before.sum()), int(after.sum()))


def chance(before: NDArray[np.int64], after: NDArray[np.int64], n_before: int, n_after: int) -> float:
    """Return what `by_chance` does, of bins of which a row may fill several: by how many rows there are."""
    n_bins = int((before + after > 0).sum())
    return (n_bins - 1) * (1 / max(n_before, 1) + 1 / max(n_after, 1))


def drifts(before: NDArray[np.int64], after: NDArray[np.int64]) -> tuple[float, bool]:
    """Return the PSI of rows by bin, and whether it is major drift: more than `MAJOR_PSI`, and not by chance."""
    psi = population_stability(before, after)
    return psi, psi > MAJOR_PSI and by_chance(before, after) <= CHANCE_PSI


def binned(before: NDArray[Any], after: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many numbers lie between the deciles of `before`; a last bin holds those that are NaN."""
    known = before[~np.isnan(before)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BINS + 1)[1:-1])) if len(known) else np.empty(0)

    def counted(values: NDArray[Any]) -> NDArray[np.int64]:
        missing = np.isnan(values)
        inside = np.searchsorted(edges, values[~missing], side="left")
        return np.append(np.bincount(inside, minlength=len(edges) + 1), missing.sum()).astype(np.int64)

    return counted(before), counted(after)
