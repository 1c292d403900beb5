"""The score from which an answer is a yes, or a row raises an alert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ThresholdRule:
    """What a threshold is to reach on the validation rows.

    - ``f1``: the best F1 of yes.
    - ``cost``: the least sum of `false_positive` and `false_negative` costs.
    - ``precision``, ``recall``: at least `at`, and as much of the other as can be had with it.
    - ``false_positive_rate``: at most `at` of the rows with a no, and as many of those with a yes as can be had.
    """

    objective: Literal["f1", "cost", "precision", "recall", "false_positive_rate"] = "f1"
    at: float = 0.0
    false_positive: float = 1.0
    false_negative: float = 1.0


F1 = ThresholdRule()
_WITHOUT_YES = 0.5


@dataclass(frozen=True)
class Threshold:
    """A threshold; `unmet` says what was to be reached, and the best that there is, where it cannot be."""

    threshold: float
    unmet: str = ""


def chosen_threshold(score: Floats, target: Floats, rule: ThresholdRule, *, highest: float = 1.0) -> Threshold:
    """Return the score from which to say yes by `rule`, of scores ``(M,)`` with a `target` of 0 or 1, or NaN: missing.

    It lies midway between two scores. highest: what no score exceeds. Without any yes it is 0.5, but for a false
    positive rate, which asks for none.
    """
    labelled = ~np.isnan(target)
    score, positive = score[labelled], target[labelled] > 0.5
    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes and (rule.objective != "false_positive_rate" or not no):
        return Threshold(_WITHOUT_YES)
    cuts, hits, alarms = _cuts(score, positive, highest)
    precision = np.divide(hits, hits + alarms, out=np.zeros(len(hits)), where=hits + alarms > 0)
    match rule.objective:
        case "f1":
            return Threshold(float(cuts[(2 * hits / (hits + alarms + yes)).argmax()]))
        case "cost":
            costs = rule.false_positive * alarms + rule.false_negative * (yes - hits)
            return Threshold(float(cuts[costs.argmin()]))
        case "precision":
            return _reaching(cuts, precision, rule.at, of=f"a precision of {rule.at:g}", then=hits)
        case "recall":
            return _reaching(cuts, hits / yes, rule.at, of=f"a recall of {rule.at:g}", then=precision)
        case "false_positive_rate":
            rate = alarms / max(no, 1)
            # Without a yes no cut has hits to be chosen by, and the lowest one has the most alarms that are allowed.
            most = hits if yes else alarms
            return _reaching(cuts, -rate, -rule.at, of=f"a false positive rate of {rule.at:g}", then=most)


def _reaching(cuts: Floats, quality: Floats, least: float, *, of: str, then: Floats) -> Threshold:
    """Return the cut with the most of `then` of those whose `quality` is `least` or more; without one the best."""
    met = quality >= least - 1e-9
    if met.any():
        return Threshold(float(cuts[np.where(met, then, -1.0).argmax()]))
    best = int(quality.argmax())
    return Threshold(float(cuts[best]), f"no threshold has {of}; the best has {abs(quality[best]):.3g}")


def _cuts(score: Floats, positive: NDArray[np.bool_], highest: float) -> tuple[Floats, Floats, Floats]:
    """Return the falling thresholds at which answers change, and the hits and false alarms from each on."""
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(positive[order]).astype(np.float64)
    last = np.append(ranked[:-1] > ranked[1:], True)
    below = np.append(ranked[1:], ranked[-1])
    cuts, hits = ((ranked + below) / 2)[last], hits[last]
    alarms = np.flatnonzero(last) + 1 - hits
    # Two neighbours may have no number between them: the threshold is then the higher one.
    cuts = np.where(cuts > below[last], cuts, ranked[last])
    if ranked[0] < highest:
        above = (ranked[0] + highest) / 2 if np.isfinite(highest) else np.nextafter(ranked[0], highest)
        if above > ranked[0]:
            cuts, hits, alarms = np.append(above, cuts), np.append(0.0, hits), np.append(0.0, alarms)
    return cuts, hits, alarms
