"""Summaries of many values that add up: moments, counted numbers, counted texts."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.errors import DataError

DISTINCT_LIMIT = 65_536
"""Different numbers that are counted exactly; beyond, numbers are cut to `KEPT_BITS` first."""

KEPT_BITS = 10
"""Bits of a cut number's mantissa: neighbours differ by at most 2**-10, about 0.1%."""

TOKEN_LIMIT = 1 << 20
"""Different texts that are counted; a field with more is no category."""

N_TOKEN_BUCKETS = 1024
"""Counters of texts that are not kept."""

_CUT = np.int64(-1) << np.int64(52 - KEPT_BITS)

Arrays = dict[str, NDArray[Any]]


def taken(arrays: Arrays, key: str, dtype: type[np.generic], size: int | None = None) -> NDArray[Any]:
    """Return the one-dimensional array `key`. Raises KeyError, or ValueError where its type or size is another."""
    array = arrays[key]
    if array.ndim != 1 or array.dtype != dtype or size not in (None, len(array)):
        raise ValueError(f"array '{key}' is {array.dtype} {array.shape}")
    return array


@dataclass
class Moments:
    """Count, mean, sum of squared deviations, least and greatest of float64 values.

    Added up by the formula of Chan, Golub and LeVeque (1979), which loses no digits to a large mean; the order of
    additions decides the last bits.
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    least: float = float("inf")
    greatest: float = float("-inf")

    @classmethod
    def of(cls, values: NDArray[np.float64], weights: NDArray[np.int64] | None = None) -> Moments:
        """Return the moments of finite `values`, each counted `weights` times (once without)."""
        if not len(values):
            return cls()
        n = len(values) if weights is None else int(weights.sum())
        least, greatest = float(values.min()), float(values.max())
        if least == greatest:
            # Rounding of the mean must not give a constant a deviation.
            return cls(n, least, 0.0, least, greatest)
        mean = float(np.average(values, weights=weights))
        squares = np.square(values - mean)
        m2 = float(squares.sum() if weights is None else (squares * weights).sum())
        return cls(n, mean, m2, least, greatest)

    def merge(self, other: Moments) -> None:
        """Take in what `other` has seen."""
        if not other.n:
            return
        n = self.n + other.n
        delta = other.mean - self.mean
        self.m2 += other.m2 + delta * delta * (self.n * other.n / n)
        self.mean += delta * (other.n / n)
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)
        self.n = n

    @property
    def deviation(self) -> float:
        """The population's standard deviation; 0.0 without values."""
        return float(np.sqrt(self.m2 / self.n)) if self.n else 0.0

    def to_arrays(self) -> Arrays:
        """Return what `from_arrays` reads back."""
        return {
            "n": np.array([self.n], np.int64),
            "moments": np.array([self.mean, self.m2, self.least, self.greatest], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Moments:
        """Return the moments in `arrays`. Raises ValueError where they do not fit together."""
        made = cls(int(taken(arrays, "n", np.int64, 1)[0]), *map(float, taken(arrays, "moments", np.float64, 4)))
        if made.n < 0 or not np.isfinite([made.mean, made.m2]).all() or (made.n > 0) != (made.least <= made.greatest):
            raise ValueError("moments are not finite")
        return made


@dataclass
class ValueCounts:
    """How often each number was seen: exactly up to `DISTINCT_LIMIT` different ones, cut to 0.1% beyond.

    Order-free: any split of the same values, merged in any order, gives the same counts. `values` rise.
    """

    values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    exact: bool = True

    def update(self, values: NDArray[np.float64]) -> None:
        """Count finite `values`."""
        if len(values):
            self._add(*np.unique(values + 0.0, return_counts=True))

    def merge(self, other: ValueCounts) -> None:
        """Take in what `other` has seen."""
        self.exact = self.exact and other.exact
        self._add(other.values, other.counts)

    def _add(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        values, counts = np.concatenate([self.values, values]), np.concatenate([self.counts, counts])
        if not self.exact:
            values = cut(values)
        self.values, self.counts = _grouped(values, counts)
        if self.exact and len(self.values) > DISTINCT_LIMIT:
            self.exact = False
            self.values, self.counts = _grouped(cut(self.values), self.counts)

    @property
    def n(self) -> int:
        """How many numbers were counted."""
        return int(self.counts.sum())

    def quantiles(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the quantiles at `shares` (0 to 1), as numpy's default 'linear' method gives them of all values.

        Raises ValueError without values.
        """
        if not len(self.values):
            raise ValueError("no values, no quantiles")
        return quantiles(self.values, self.counts, shares)

    def quantiles_of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of numbers below each of `values` and half of those equal to it; NaN without numbers."""
        values = values if self.exact else cut(values)
        below, upto = self._ranks(values)
        return (below + upto) / 2 / self.n if self.n else np.full(len(values), np.nan)

    def shares_of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of numbers equal to each of `values`; NaN without numbers."""
        below, upto = self._ranks(values)
        return (upto - below) / self.n if self.n else np.full(len(values), np.nan)

    def _ranks(self, values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many numbers lie below each of `values`, and how many do or are equal to it."""
        ends = np.concatenate([[0], np.cumsum(self.counts)])
        return ends[np.searchsorted(self.values, values)], ends[np.searchsorted(self.values, values, side="right")]

    def histogram(self, edges: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return how many numbers lie in (-inf, edges[0]], (edges[0], edges[1]], ..., (edges[-1], inf)."""
        places = np.searchsorted(edges, self.values, side="left")
        return np.bincount(places, weights=self.counts, minlength=len(edges) + 1).astype(np.int64)

    def to_arrays(self) -> Arrays:
        """Return what `from_arrays` reads back."""
        return {"values": self.values, "counts": self.counts, "exact": np.array([self.exact], np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> ValueCounts:
        """Return the counts in `arrays`. Raises ValueError where they do not fit together."""
        values = taken(arrays, "values", np.float64)
        counts = taken(arrays, "counts", np.int64, len(values))
        if not np.isfinite(values).all() or (np.diff(values) <= 0).any() or (counts <= 0).any():
            raise ValueError("counted values do not rise, or are not counted")
        return cls(values, counts, bool(taken(arrays, "exact", np.uint8, 1)[0]))


def cut(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `values` with all but `KEPT_BITS` bits of their mantissas set to 0, which moves them towards 0."""
    bits = np.ascontiguousarray(values, np.float64).view(np.int64) & _CUT
    return bits.view(np.float64) + 0.0


def quantiles(
    values: NDArray[np.float64], counts: NDArray[np.int64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return numpy's 'linear' quantiles of rising `values` that are repeated `counts` times."""
    ends = np.cumsum(counts)
    position = np.asarray(shares, np.float64) * (ends[-1] - 1)
    low = np.floor(position)
    share = position - low
    a = values[np.searchsorted(ends, low, side="right")]
    b = values[np.searchsorted(ends, np.minimum(low + 1, ends[-1] - 1), side="right")]
    # The two forms of numpy's own interpolation: never past b, whatever the rounding.
    result: NDArray[np.float64] = np.where(share < 0.5, a + (b - a) * share, b - (b - a) * (1 - share))
    return result


def _grouped(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    unique, places = np.unique(values, return_inverse=True)
    sums = np.zeros(len(unique), np.int64)
    np.add.at(sums, places, counts)
    return unique, sums


@dataclass
class TokenCounts:
    """How often each text was seen. Order-free. Raises DataError past `TOKEN_LIMIT` different texts."""

    counts: dict[bytes, int] = field(default_factory=dict)
    n: int = field(init=False)
    """How many texts were counted; kept, since each share of one is asked of it."""

    def __post_init__(self) -> None:
        self.n = sum(self.counts.values())

    def update(self, tokens: list[bytes], counts: list[int]) -> None:
        """Count each of `tokens` as often as `counts` says."""
        self.n += sum(counts)
        for token, count in zip(tokens, counts, strict=True):
            self.counts[token] = self.counts.get(token, 0) + count
        if len(self.counts) > TOKEN_LIMIT:
            raise DataError(
                f"more than {TOKEN_LIMIT:,} different values, which is no category; give the field 'encoding: hash' "
                "or 'kind: text', or leave it out"
            )

    def merge(self, other: TokenCounts) -> None:
        """Take in what `other` has seen."""
        self.update(list(other.counts), list(other.counts.values()))

    def top(self, limit: int, min_count: int) -> list[bytes]:
        """Return up to `limit` texts seen at least `min_count` times, the most frequent first, ties by bytes."""
        known = [token for token, count in self.counts.items() if count >= min_count]
        return sorted(known, key=lambda token: (-self.counts[token], token))[:limit]

    def shares_of(self, tokens: Sequence[bytes]) -> NDArray[np.float64]:
        """Return the share of each of `tokens`; NaN when nothing was counted."""
        found = np.array([self.counts.get(token, 0) for token in tokens], np.float64)
        return found / self.n if self.n else np.full(len(tokens), np.nan)

    def to_arrays(self) -> Arrays:
        """Return what `from_arrays` reads back; texts rise by their bytes."""
        tokens = sorted(self.counts)
        return {
            "tokens": np.frombuffer(b"".join(tokens), np.uint8),
            "offsets": np.cumsum([0, *map(len, tokens)], dtype=np.int64),
            "counts": np.array([self.counts[token] for token in tokens], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> TokenCounts:
        """Return the counts in `arrays`. Raises ValueError where they do not fit together."""
        data, offsets = taken(arrays, "tokens", np.uint8).tobytes(), taken(arrays, "offsets", np.int64)
        counts = taken(arrays, "counts", np.int64, len(offsets) - 1)
        if offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) < 0).any() or (counts <= 0).any():
            raise ValueError("texts do not lie one after the other, or are not counted")
        data.decode()
        tokens = [data[begin:end] for begin, end in pairwise(offsets.tolist())]
        return cls(dict(zip(tokens, counts.tolist(), strict=True)))


@dataclass
class TokenBuckets:
    """How often texts of each of `N_TOKEN_BUCKETS` hashes were seen. Order-free, and keeps no text."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(N_TOKEN_BUCKETS, np.int64))

    def update(self, tokens: list[bytes], counts: list[int]) -> None:
        """Count each of `tokens` as often as `counts` says."""
        np.add.at(self.counts, [zlib.crc32(token) % N_TOKEN_BUCKETS for token in tokens], counts)

    def merge(self, other: TokenBuckets) -> None:
        """Take in what `other` has seen."""
        self.counts += other.counts

    @property
    def n(self) -> int:
        """How many texts were counted."""
        return int(self.counts.sum())

    def shares_of(self, tokens: Sequence[bytes]) -> NDArray[np.float64]:
        """Return the share of texts with the hash of each of `tokens`, at least its own; NaN without texts."""
        found = self.counts[[zlib.crc32(token) % N_TOKEN_BUCKETS for token in tokens]].astype(np.float64)
        return found / self.n if self.n else np.full(len(tokens), np.nan)

    def to_arrays(self) -> Arrays:
        """Return what `from_arrays` reads back."""
        return {"buckets": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> TokenBuckets:
        """Return the counts in `arrays`. Raises ValueError where they are none."""
        return cls(taken(arrays, "buckets", np.int64, N_TOKEN_BUCKETS))
