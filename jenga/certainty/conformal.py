"""Sets and intervals that hold the truth as often as they say: split conformal prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jenga.labels.certain import Floats

_STRANGEST = 1.0


@dataclass(frozen=True)
class Conformal:
    """How strange a label may be and still belong to an answer's set, by its kind's `LabelKind.strangeness`.

    `coverage`: the share of rows whose label is to be in the set. `limits`: of the strangeness, one for each column.
    A label that is infinitely strange is in no set.
    """

    coverage: float
    limits: list[float]

    def covered(self, strangeness: Floats) -> float:
        """Return the share of the labels, strange as ``(M, D)``, NaN where there is none, that are in their sets."""
        known = ~np.isnan(strangeness)
        return float((strangeness <= np.array(self.limits))[known].mean())


def fit(strangeness: Floats, coverage: float) -> Conformal | None:
    """Return the limits by the strangeness ``(M, D)`` of labels, NaN where there is none.

    The ``ceil((n + 1) * coverage)``-th smallest of n (Papadopoulos et al. 2002; Angelopoulos & Bates 2023, section 1):
    where rows to come and these are exchangeable, and the model saw neither, the share that is covered is at least
    `coverage` on average. None where some column has fewer rows than `rows_for` it. Where so many labels are in no set
    that it cannot be had, the limit is the strangest one that can be: 1, as that of classes that are out of the
    question.
    """
    limits = []
    for column in strangeness.T:
        ranked = np.sort(column[~np.isnan(column)])
        # The product may lie a hair above the whole number that it is.
        place = math.ceil((len(ranked) + 1) * coverage - 1e-9)
        if place > len(ranked):
            return None
        limits.append(float(ranked[place - 1]) if np.isfinite(ranked[place - 1]) else _STRANGEST)
    return Conformal(coverage, limits)


def rows_for(coverage: float) -> int:
    """Return how many labelled rows the least limit is made of: below, no strangeness is rare enough."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)
