"""Tables of labels that kinds share, and the figures of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jenga.types import HeadSpace

_DIGITS = 6


def rounded(probability: float) -> float:
    """Return a probability or a score as answers show it, to six digits."""
    return round(float(probability), _DIGITS)


def all_rounded(figures: Any) -> list[float]:
    """Return probabilities or scores ``(M,)`` as answers show them, see `rounded`."""
    exact = np.asarray(figures, np.float64)
    # NumPy multiplies before it rounds, which may overflow; what is so large has no such digits.
    small = np.abs(exact) < 1e9
    shown: list[float] = np.where(small, np.where(small, exact, 0.0).round(_DIGITS), exact).tolist()
    return shown


def stacked(logits: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """Return each row's logits as one tensor ``(M, K)``, which they may be already."""
    return logits if isinstance(logits, torch.Tensor) else torch.stack(list(logits))


def columns(space: HeadSpace, values: Any) -> NDArray[np.float64]:
    """Return values of K labels as float64 ``(M, K)``."""
    return np.asarray(values, dtype=np.float64).reshape(-1, space.size)


def per_label(
    labels: Sequence[str], hits: NDArray[np.int64], false_alarms: NDArray[np.int64], misses: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of each label, from what was found, found wrongly, and missed."""

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    return [
        {
            "label": label,
            "precision": share(hit, hit + false_alarm),
            "recall": share(hit, hit + miss),
            "f1": share(2 * hit, 2 * hit + false_alarm + miss),
            "support": hit + miss,
        }
        for label, hit, false_alarm, miss in zip(
            labels, hits.tolist(), false_alarms.tolist(), misses.tolist(), strict=True
        )
    ]


def kappa(predicted: NDArray[np.int64], gold: NDArray[np.int64], *, weights: str | None) -> float | None:
    """Return Cohen's kappa; None without labels, and where one and the same label is all there is."""
    from sklearn.metrics import cohen_kappa_score

    seen = np.union1d(predicted, gold)
    if len(seen) < 2:
        return None
    # Every grade up to the highest one: sklearn measures distance by position in `labels`.
    return float(cohen_kappa_score(gold, predicted, labels=np.arange(int(seen.max()) + 1), weights=weights))
