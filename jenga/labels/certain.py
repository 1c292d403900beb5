"""What kinds of labels tell of their heads to whoever judges how certain those are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Unlike = Literal["energy", "probability"]
"""How it is told that a row looks like no class of a head, see `LabelKind.unlikeness`."""


class Evidence(NamedTuple):
    """What a head says of N things that have a label: rows, or words of rows.

    `logits`: float64 ``(N, K)``. `gold`: int64 ``(N,)``, the one class that is right, of logits that a softmax makes
    probabilities of; or float64 ``(N, K)`` of 0, 1 and NaN, of items that a sigmoid makes a probability of each.
    `rows`: int64 ``(N,)``, the row that each belongs to.
    """

    logits: Floats
    gold: NDArray[np.int64] | Floats
    rows: NDArray[np.int64]

    @property
    def independent(self) -> bool:
        """Whether each of the K has a probability of its own, beside the others'."""
        return self.gold.ndim == 2

    @property
    def wanted(self) -> Floats:
        """The right answer as float64 ``(N, K)`` of 0 and 1, NaN where it is not known."""
        if self.independent:
            return np.asarray(self.gold, np.float64)
        wanted = np.zeros(self.logits.shape)
        wanted[np.arange(len(wanted)), self.gold.astype(np.int64)] = 1.0
        return wanted

    def take(self, kept: NDArray[np.bool_] | NDArray[np.int64]) -> Evidence:
        """Return the things at `kept`, a mask ``(N,)`` or numbers."""
        return Evidence(self.logits[kept], self.gold[kept], self.rows[kept])


class Additive(NamedTuple):
    """The metrics of M rows as functions of sums over them, so that rows drawn again need not be judged again.

    `cells`: int64 ``(M,)``, which of C kinds of rows each is. `parts`: what a row of each kind adds to the sums,
    ``(C, D)``. `metrics`: from sums ``(B, D)`` of B draws to each metric ``(B,)``, NaN where it is undefined.
    """

    cells: NDArray[np.int64]
    parts: Floats | csr_array
    metrics: Callable[[Floats], Mapping[str, Floats]]

    @classmethod
    def of_rows(cls, statistics: Floats, metrics: Callable[[Floats], Mapping[str, Floats]]) -> Additive:
        """Return the metrics of sums of `statistics` ``(M, D)``; rows whose statistics are equal are of one kind."""
        parts, cells = np.unique(np.ascontiguousarray(statistics), axis=0, return_inverse=True)
        return cls(cells.reshape(-1), parts, metrics)


def ratio(part: Floats, whole: Floats) -> Floats:
    """Return `part` over `whole`, NaN where the latter is 0."""
    found: Floats = np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole != 0)
    return found


def mean_defined(values: Floats) -> Floats:
    """Return the means ``(B,)`` of what is defined in ``(B, K)``, NaN where nothing is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(1), defined.sum(1).astype(np.float64))
