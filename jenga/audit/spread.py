"""How rows lie: those far from all others, and parts that are distributed otherwise than the training rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.audit.findings import Finding
from jenga.audit.pool import Asked, Pool
from jenga.detectors.drift import MAJOR_PSI, binned, drifts
from jenga.detectors.outliers import outliers
from jenga.modalities.quick import Quick
from jenga.rows.split import TRAIN

N_DIRECTIONS = 64
"""Of features without names, which stand in the order of how much they tell rows apart."""
FAR = 10.0


def strangers(pool: Pool, quick: Quick) -> Iterator[Finding]:
    """Yield the rows that are far from all others."""
    found = outliers(_scaled(quick.features) if quick.names else _directions(quick.features))
    for row in found.rows.tolist():
        score = float(found.scores[row])
        reason = f"its neighbours are {score:.1f} robust standard deviations farther than is usual"
        yield pool.finding("outlier", row, reason, worse=score, score=score)


def _directions(features: NDArray[Any]) -> NDArray[Any]:
    kept = features[:, :N_DIRECTIONS]
    return np.asarray(kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-6))


def _scaled(features: NDArray[Any]) -> NDArray[Any]:
    """Return columns by how many of their own robust spreads they lie from their median, at most `FAR`."""
    low, middle, high = np.nanquantile(features, [0.25, 0.5, 0.75], axis=0)
    # Of a column that is one value in most rows, what is usual is its standard deviation.
    spread = np.where(high > low, (high - low) / 1.35, np.nanstd(features, axis=0))
    scaled = (features - middle) / np.where(spread > 0, spread, 1)
    return np.asarray(np.clip(np.nan_to_num(scaled), -FAR, FAR))


def drift(pool: Pool, names: Sequence[str]) -> Iterator[Finding]:
    """Yield labels, features (by `names`) and lengths of which other parts have other shares than the training rows."""
    train = pool.trains
    for part in dict.fromkeys(pool.parts[~train].tolist()):
        judged = pool.parts == part
        for asked in pool.asked:
            yield from _told(part, *_counted(asked, train, judged), f"labels of {asked.name}", asked)
        features = pool.features
        for column, name in enumerate(names if features is not None else ()):
            values = np.asarray(features)[:, column].astype(np.float64)
            yield from _told(part, *binned(values[train], values[judged]), f"feature {name}")
        lengths = [split.lengths for split in pool.splits]
        if sum(map(len, lengths)) == len(train) and not names:
            values = np.concatenate(lengths).astype(np.float64)
            yield from _told(part, *binned(values[train], values[judged]), "the length of rows")


def _counted(
    asked: Asked, train: NDArray[np.bool_], judged: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    answers, n_classes = asked.question.answers, len(asked.question.classes)
    if not n_classes:
        return binned(answers[train], answers[judged])
    known = answers >= 0
    before, after = (np.bincount(answers[rows & known], minlength=n_classes) for rows in (train, judged))
    return before, after


def _told(
    part: str, before: NDArray[np.int64], after: NDArray[np.int64], what: str, asked: Asked | None = None
) -> Iterator[Finding]:
    if not before.sum() or not after.sum():
        return
    psi, major = drifts(before, after)
    if major:
        task, head = (None, None) if asked is None else (asked.task, asked.head)
        reason = f"{what}: PSI {psi:.2f} > {MAJOR_PSI:g} between {TRAIN} and {part}"
        yield Finding("drift", part, None, None, None, task, head, None, None, round(psi, 6), reason, worse=psi)
