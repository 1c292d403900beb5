"""Between what values a metric lies on other rows like these: percentiles of the bootstrap (Efron 1979)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from jenga.labels.certain import Additive, Floats

Interval = list[float]
LEVEL = 0.95
FEWEST_DRAWS, MOST_DRAWN = 200, 20_000_000
"""Draws without which percentiles jump about, and rows that are drawn in all before there are fewer draws."""
JUDGED_DRAWS, MOST_JUDGED = 200, 500_000
"""Of metrics that are no function of sums: draws, each of which is judged anew, and rows that are judged in all."""
JUDGED_S = 5.0
"""Seconds for all draws of a head that are judged anew; 2,500 rows of an anomaly head take 1.6 on one slow core."""
_AT_ONCE = 2_000_000
_FEW_CELLS = 8
"""Rows of one kind, on average, from which it is faster to draw how many of each kind there are."""


def intervals(
    metrics: Mapping[str, float],
    additive: Additive | None,
    judge: Callable[[NDArray[np.int64]], Mapping[str, float]],
    *,
    rows: int,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Return the 95% interval of each of `metrics` by name, over `rows` that are drawn again with replacement.

    judge: the metrics of the rows of these numbers, for what `additive` does not have. That takes time, so that there
    is no such interval where 200 draws are more than 500,000 rows, or are not judged within `JUDGED_S`. An interval
    that there is, is the same for the same arguments.
    """
    if rows < 2:
        return {}
    found: dict[str, Interval] = {}
    if additive is not None:
        found = _of_sums(metrics, additive, resamples=resamples, generator=np.random.default_rng(seed))
    draws = min(resamples, JUDGED_DRAWS)
    if metrics.keys() - found.keys() and draws * rows <= MOST_JUDGED:
        found = _judged(judge, rows, draws=draws, generator=np.random.default_rng(seed)) | found
    return {name: found[name] for name in metrics if name in found}


def _of_sums(
    metrics: Mapping[str, float], additive: Additive, *, resamples: int, generator: np.random.Generator
) -> dict[str, Interval]:
    counts = np.bincount(additive.cells, minlength=additive.parts.shape[0])
    whole = additive.metrics(counts[None].astype(np.float64) @ additive.parts)
    # A task may have a metric of its own by the same name.
    same = [name for name, value in metrics.items() if name in whole and np.isclose(whole[name][0], value)]
    if not same:
        return {}
    drawn: dict[str, list[Floats]] = {name: [] for name in same}
    for weights in _weights(additive.cells, counts, resamples, generator):
        # Of the same type, or the parts would be copied for each of many products.
        values = additive.metrics(weights.astype(additive.parts.dtype) @ additive.parts)
        for name in same:
            drawn[name].append(values[name])
    return _percentiles({name: np.concatenate(values) for name, values in drawn.items()})


def _weights(
    cells: NDArray[np.int64], counts: NDArray[np.int64], resamples: int, generator: np.random.Generator
) -> Iterator[Floats]:
    """Yield how many rows of each of C kinds some draws have, ``(b, C)``, until there are `resamples` draws."""
    rows, kinds = len(cells), len(counts)
    few = kinds * _FEW_CELLS <= rows
    total = resamples if few else min(resamples, max(FEWEST_DRAWS, MOST_DRAWN // rows))
    size = max(1, _AT_ONCE // (kinds if few else rows))
    for start in range(0, total, size):
        count = min(size, total - start)
        if few:
            yield generator.multinomial(rows, counts / rows, size=count).astype(np.float64)
            continue
        places = cells[generator.integers(0, rows, size=(count, rows), dtype=np.int32)]
        places += np.arange(count)[:, None] * kinds
        yield np.bincount(places.ravel(), minlength=count * kinds).reshape(count, kinds).astype(np.float64)


def _judged(
    judge: Callable[[NDArray[np.int64]], Mapping[str, float]], rows: int, *, draws: int, generator: np.random.Generator
) -> dict[str, Interval]:
    """Return no interval at all where the draws take too long: those of fewer draws would be others each time."""
    drawn: dict[str, list[float]] = {}
    start = time.monotonic()
    for _ in range(draws):
        for name, value in judge(generator.integers(0, rows, size=rows)).items():
            drawn.setdefault(name, []).append(value)
        if time.monotonic() - start > JUDGED_S:
            return {}
    return _percentiles({name: np.array(values) for name, values in drawn.items()})


def _percentiles(drawn: Mapping[str, Floats]) -> dict[str, Interval]:
    """Return the middle 95% of the defined values of each metric; nothing where half of the draws have none."""
    ends = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
    most = max((len(values) for values in drawn.values()), default=0)
    found = {}
    for name, values in drawn.items():
        defined = values[~np.isnan(values)]
        if 2 * len(defined) > most:
            found[name] = np.percentile(defined, ends).tolist()
    return found
