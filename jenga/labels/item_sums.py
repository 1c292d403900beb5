"""The metrics of yes/no items as functions of sums over rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jenga.labels.certain import Additive, Floats, mean_defined, ratio

_FEW = 16
"""Items up to so many, of which it pays to look for rows that are alike; of more, hardly any are."""
_MISSING, _HIT, _FALSE_ALARM, _MISS, _NO = np.arange(5, dtype=np.int8)


def item_sums(yes: NDArray[np.bool_], gold: Floats) -> Additive:
    """Return accuracy, macro and micro F1, and kappa of answers ``(M, K)``; gold: 0, 1 or NaN.

    Rows without any label do not count.
    """
    known, wanted = ~np.isnan(gold), gold > 0.5
    verdicts = np.select([~known, wanted & yes, yes, wanted], [_MISSING, _HIT, _FALSE_ALARM, _MISS], _NO)
    verdicts = np.ascontiguousarray(verdicts[known.any(1)])
    kinds, cells = verdicts, np.arange(len(verdicts))
    if verdicts.shape[1] <= _FEW:
        kinds, cells = np.unique(verdicts, axis=0, return_inverse=True)
    # Counts below 2^24 are exact in float32, of which there may be M times 4 K.
    parts = np.hstack([kinds == each for each in (_HIT, _FALSE_ALARM, _MISS)] + [kinds > 0]).astype(np.float32)
    return Additive(cells.reshape(-1), parts, _metrics)


def _metrics(sums: Floats) -> dict[str, Floats]:
    hits, false_alarms, misses, labelled = np.split(np.asarray(sums, np.float64), 4, axis=1)
    wrong = false_alarms + misses
    total, total_wrong, total_hits = labelled.sum(1), wrong.sum(1), hits.sum(1)
    said_yes, are_yes = total_hits + false_alarms.sum(1), total_hits + misses.sum(1)
    by_chance = ratio(said_yes * are_yes + (total - said_yes) * (total - are_yes), total**2)
    accuracy = 1 - ratio(total_wrong, total)
    return {
        "accuracy": accuracy,
        "macro_f1": mean_defined(ratio(2 * hits, 2 * hits + wrong)),
        "micro_f1": ratio(2 * total_hits, 2 * total_hits + total_wrong),
        "kappa": ratio(accuracy - by_chance, 1 - by_chance),
    }
