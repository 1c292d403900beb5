"""Rows that say the same: exactly, once they are normalised, or nearly, by MinHash (Broder 1997) of characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIMILARITY = 0.9
N_BANDS, N_HASHES = 16, 4
"""16 chances of 4 equal hashes: texts that share .9 of their runs meet by a chance of 1 - 1e-7, .8 by .9998."""
RUN = 4
N_BUCKETS = 2**20
_RUNS_AT_ONCE = 2**20
"""Runs of characters that are hashed or compared together, in some tens of megabytes."""
_KEPT = "LNMS"
"""Unicode's letters, numbers, marks on letters, and symbols: two smileys may say opposite things."""


@dataclass(frozen=True)
class Twins:
    """Which of M rows say the same. `groups`: int64 ``(M,)``, equal for such rows, the place of the first of them."""

    groups: NDArray[np.int64]

    @property
    def several(self) -> NDArray[np.bool_]:
        """Which rows, ``(M,)``, have another in their group."""
        return np.asarray(np.bincount(self.groups, minlength=len(self.groups))[self.groups] > 1)


def normalised(key: Hashable) -> Hashable:
    """Return `key` with its texts in one form of Unicode, of lower case, each run of blanks and punctuation a blank.

    What is nothing but punctuation stays as it is.
    """
    if isinstance(key, str):
        plain = unicodedata.normalize("NFKC", key).casefold()
        kept = " ".join("".join(c if unicodedata.category(c)[0] in _KEPT else " " for c in plain).split())
        return kept or key
    if isinstance(key, tuple):
        return tuple(map(normalised, key))
    return key


def exact_twins(keys: Sequence[Hashable]) -> Twins:
    """Return which rows have equal keys."""
    first: dict[Hashable, int] = {}
    groups = [first.setdefault(key, row) for row, key in enumerate(keys)]
    return Twins(np.array(groups, np.int64))


def near_twins(texts: Sequence[str], *, similarity: float = SIMILARITY, seed: int = 0) -> Twins:
    """Return which texts share at least `similarity` of their runs of characters (Jaccard), chains of such pairs too.

    Memory is some 14 bytes a character and 500 a text (measured), whatever the number of equal texts.
    """
    if len(texts) < 2:
        return Twins(np.arange(len(texts)))
    runs = _runs(texts)
    parents = np.arange(len(texts))
    lengths = np.diff(runs.indptr)
    for pairs in _pairs(_signatures(runs, seed), lengths > 0):
        for some in _blocks(lengths[pairs].sum(axis=1)):
            piece = pairs[some]
            for one, other in piece[_jaccard(runs, piece) >= similarity].tolist():
                _unite(parents, one, other)
    return Twins(np.array([_root(parents, row) for row in range(len(texts))], np.int64))


def _runs(texts: Sequence[str]) -> Any:
    """Return which runs of characters each text has, sparse ``(M, N_BUCKETS)`` of ones, sorted."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectoriser = HashingVectorizer(
        analyzer="char_wb", ngram_range=(RUN, RUN), n_features=N_BUCKETS, binary=True, norm=None, alternate_sign=False,
        dtype=np.float32,
    )  # fmt: skip
    runs = vectoriser.transform(texts).tocsr()
    runs.sort_indices()
    return runs


def _signatures(runs: Any, seed: int) -> NDArray[np.uint32]:
    """Return the least hash of each text's runs by each hash function, uint32 ``(M, N_BANDS * N_HASHES)``."""
    generator = np.random.default_rng(seed)
    # Multiply-shift: the high bits of an odd multiple are as good as drawn.
    factors, shifts = generator.integers(2**63, size=(N_BANDS * N_HASHES, 2), dtype=np.uint64).T
    found = np.zeros((runs.shape[0], N_BANDS * N_HASHES), np.uint32)
    for some in _blocks(np.diff(runs.indptr)):
        starts = runs.indptr[some.start : some.stop + 1]
        indices = runs.indices[starts[0] : starts[-1]].astype(np.uint64)
        filled = np.flatnonzero(np.diff(starts))
        if not len(filled):
            continue
        for column, (factor, shift) in enumerate(zip(factors | np.uint64(1), shifts, strict=True)):
            hashes = (indices * factor + shift) >> np.uint64(32)
            found[some.start + filled, column] = np.minimum.reduceat(hashes, starts[filled] - starts[0])
    return found


def _blocks(sizes: NDArray[Any]) -> Iterator[slice]:
    """Yield what comes one after the other and has `_RUNS_AT_ONCE` runs together, or is one that has more."""
    ends, begin = np.cumsum(sizes, dtype=np.int64), 0
    while begin < len(ends):
        before = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, before + _RUNS_AT_ONCE, side="right")), begin + 1)
        yield slice(begin, end)
        begin = end


def _pairs(signatures: NDArray[np.uint32], filled: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Yield by band each row whose hashes are those of others, with the one before and the first, ``(P, 2)``."""
    rows = np.flatnonzero(filled)
    for band in range(N_BANDS):
        part = signatures[rows, band * N_HASHES : (band + 1) * N_HASHES]
        _, bucket = np.unique(part, axis=0, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        sorted_rows, sorted_bucket = rows[order], bucket[order]
        same = np.flatnonzero(sorted_bucket[1:] == sorted_bucket[:-1])
        # All pairs of a bucket would be the square of its rows. Each meets the one before, too: the first may be unlike
        # the others, which are twins of one another.
        firsts = np.searchsorted(sorted_bucket, sorted_bucket[same])
        others = sorted_rows[same + 1]
        yield np.concatenate([np.stack([sorted_rows[each], others], axis=1) for each in (same, firsts)])


def _jaccard(runs: Any, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    one, other = runs[pairs[:, 0]], runs[pairs[:, 1]]
    shared = np.asarray(one.multiply(other).sum(axis=1)).ravel()
    either = np.diff(one.indptr) + np.diff(other.indptr) - shared
    return np.asarray(shared / np.maximum(either, 1), np.float64)


def _root(parents: NDArray[np.int64], row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = int(parents[row])
    return row


def _unite(parents: NDArray[np.int64], one: int, other: int) -> None:
    first, second = sorted((_root(parents, one), _root(parents, other)))
    parents[second] = first
