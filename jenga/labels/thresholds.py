"""The probability from which an answer is a yes."""

from __future__ import annotations

import numpy as np


def best_threshold(probability: np.ndarray, target: np.ndarray) -> float:
    """Return what gives the best F1 of yes, both ``(M,)``, where `target` is not NaN; 0.5 without any yes."""
    labelled = ~np.isnan(target)
    probability, positive = probability[labelled], target[labelled] > 0.5
    if not positive.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    ranked, hits = probability[order], np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + positive.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1
    best = int(f1.argmax())
    return float((ranked[best] + ranked[best + 1]) / 2) if best + 1 < len(ranked) else float(ranked[best])
