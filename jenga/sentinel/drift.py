"""How far validation rows lie from training rows, and answers from labels, by the population stability index."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jenga.detectors.drift import CHANCE_PSI, binned, by_chance, population_stability
from jenga.rows.batches import Key, Source


class Drift(NamedTuple):
    """What drifted, in words, and its PSI."""

    what: str
    psi: float


def of_counts(before: NDArray[np.int64], after: NDArray[np.int64]) -> float | None:
    """Return the PSI of counts by bin; None where so few rows would give one of .05 by chance."""
    kept = (before + after) > 0
    return None if by_chance(before, after) > CHANCE_PSI else population_stability(before[kept], after[kept])


def of_numbers(before: NDArray[np.floating], after: NDArray[np.floating]) -> float | None:
    """Return the PSI of numbers over the deciles of those `before`; None where there are too few."""
    return of_counts(*binned(before, after))


def between_splits(source: Source, limit: float) -> list[Drift]:
    """Return what of the validation rows of `source` lies further than `limit` from its training rows.

    The labels of its heads with classes, the features of rows that are vectors, and what rows cost, such as their
    tokens; the worst first.
    """
    train, valid = source.splits.get("train"), source.splits.get("valid")
    if train is None or valid is None or not len(valid):
        return []
    labels, later_labels = train.rows.labels, valid.rows.labels
    found = {
        f"labels of {'.'.join(key)}": _labels(labels[key], later_labels[key], train.spaces[key].size)
        for key in class_heads(source)
    }
    features, later = train.encoded.features, valid.encoded.features
    if features is not None and later is not None:
        found |= {f"feature {at}": of_numbers(features[:, at], later[:, at]) for at in range(features.shape[1])}
    elif not train.encoded.packed:
        found[f"lengths in {train.encoded.unit}"] = of_numbers(train.lengths, valid.lengths)
    drifted = [Drift(f"source {source.name}: {what}", psi) for what, psi in found.items() if psi and psi > limit]
    return sorted(drifted, key=lambda each: -each.psi)


def class_heads(source: Source) -> list[Key]:
    """Return the heads of `source` whose labels are one class a row, int64 ``(M,)``."""
    split = source.splits["train"]
    return [key for key, labels in split.rows.labels.items() if key in split.spaces and _is_classes(labels)]


def _is_classes(labels: object) -> bool:
    return isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype == np.int64


def _labels(before: NDArray[np.int64], after: NDArray[np.int64], size: int) -> float | None:
    return of_counts(*(np.bincount(each[each >= 0], minlength=size) for each in (before, after)))
