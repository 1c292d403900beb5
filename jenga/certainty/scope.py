"""Rows that are none of what a head has learnt: how unlike its classes they look, and from where on it says so."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jenga.labels.certain import Floats, Unlike

_TRUE_POSITIVES = 0.95
_FEWEST_OUTSIDE = 10
"""Validation rows of other classes from which on the limit is settled by them: fewer are drawn by chance."""
_USUAL_SHARE = 0.95

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Scope:
    """How unlike the classes of a head a row may look and still be one of theirs; above `limit` it is out of scope.

    `score`: how `LabelKind.unlikeness` tells it.
    """

    score: Unlike
    limit: float

    def beyond(self, unlike: Floats) -> Mask:
        """Return which rows, unlike as ``(M,)``, are out of scope."""
        found: Mask = unlike > self.limit
        return found


def settled(unlike: Floats, inside: Mask, outside: Mask, *, score: Unlike, keep: float | None) -> Scope | None:
    """Return the limit by rows ``(M,)`` that are `inside` the scope and `outside`; None where none is inside.

    keep: the least share of those inside to keep. None: where ten or more are outside, the limit with the highest sum
    of the share inside that is kept and the share outside that is not (Youden 1950), else 0.95 are kept.
    """
    ranked, others = np.sort(unlike[inside]), np.sort(unlike[outside])
    if not len(ranked):
        return None
    if keep is None and len(others) >= _FEWEST_OUTSIDE:
        kept = np.arange(1, len(ranked) + 1) / len(ranked)
        refused = 1 - np.searchsorted(others, ranked, side="right") / len(others)
        # Of equally good ones the last, which keeps most.
        place = len(ranked) - 1 - int(np.argmax((kept + refused)[::-1]))
        return Scope(score, float(ranked[place]))
    return Scope(score, _limit(ranked, _USUAL_SHARE if keep is None else keep))


def quality(scope: Scope, unlike: Floats, inside: Mask, outside: Mask) -> dict[str, float]:
    """Return ``kept``, the share of rows inside that the scope keeps, and of rows outside what tells them apart.

    ``refused``: the share of those that are out of scope. ``auroc``: how often a row outside looks less like the
    classes than one inside. ``fpr_at_95_tpr``: the share of those outside below a limit that keeps 95% of those inside,
    of the rows at hand. What has no row is left out.
    """
    own, others = np.sort(unlike[inside]), unlike[outside]
    found = {"kept": float(1 - scope.beyond(own).mean())} if len(own) else {}
    if len(others):
        found |= {"outside": len(others), "refused": float(scope.beyond(others).mean())}
    if len(own) and len(others):
        below = np.searchsorted(own, others, side="left") + np.searchsorted(own, others, side="right")
        found["auroc"] = float(below.mean() / (2 * len(own)))
        found["fpr_at_95_tpr"] = float((others <= _limit(own, _TRUE_POSITIVES)).mean())
    return found


def _limit(ranked: Floats, share: float) -> float:
    """Return the smallest limit that at least `share` of the sorted values are no higher than."""
    # The product may lie a hair above the whole number that it is.
    return float(ranked[max(0, math.ceil(len(ranked) * share - 1e-9) - 1)])
