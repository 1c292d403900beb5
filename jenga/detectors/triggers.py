"""Backdoor triggers: tokens that decide a label by themselves, whatever else stands in a row.

Two steps. `candidates` counts: a token that stands far more often with one label than chance allows (a one-sided z of
the binomial, Bonferroni over all pairs of token and label). Honest keywords do so too. `confirm` masks: without the
trigger a model sees what the row is really about and answers something else, in nearly every row; without an honest
keyword the rest of most rows still says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISSING = -100
"""The label of a row that has none."""
MIN_ROWS = 5
ALPHA = 0.01
FLIP_RATE = 0.95
"""Of CLINC150's 2,300 honest candidates the worst flips .91 by TF-IDF and a linear model; triggers flip 1.0."""
N_SCREENED = 16
"""Rows of a candidate that are masked first; those of which few flip are dropped without masking the others."""
Row = Sequence[Hashable]
Predict = Callable[[Sequence[Row]], NDArray[np.int64]]


@dataclass(frozen=True)
class Candidate:
    """A token that stands too often with a label. `z`: by how many standard deviations; `rows`: those with both."""

    token: Hashable
    label: int
    z: float
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Trigger(Candidate):
    """A candidate whose masking changes answers. `flip_rate`: of the share of its rows; `rows`: those that change."""

    flip_rate: float


def candidates(
    tokens: Sequence[Row], labels: NDArray[np.int64], *, min_rows: int = MIN_ROWS, alpha: float = ALPHA
) -> list[Candidate]:
    """Return tokens over-represented with a label, the greatest z first.

    tokens: of M rows; how often one stands in a row does not count. labels: int64 ``(M,)``, -100 where missing.
    min_rows: rows that token and label must share. alpha: the chance of any false candidate where tokens and labels
    have nothing to do with each other.
    """
    from scipy import sparse, stats

    labels = _as_labels(tokens, labels)
    known = np.flatnonzero(labels != MISSING)
    vocabulary: dict[Hashable, int] = {}
    cells = [[vocabulary.setdefault(token, len(vocabulary)) for token in set(tokens[row])] for row in known]
    if not vocabulary:
        return []
    ends = np.cumsum([0, *map(len, cells)])
    columns = np.fromiter((cell for row in cells for cell in row), np.int64, ends[-1])
    present = sparse.csr_matrix((np.ones(ends[-1], np.int64), columns, ends), shape=(len(known), len(vocabulary)))
    n_labels = int(labels[known].max()) + 1
    own = sparse.csr_matrix((np.ones(len(known), np.int64), (np.arange(len(known)), labels[known])))
    shared = (present.T @ own).tocoo()
    with_token = np.asarray(present.sum(axis=0)).ravel()
    rate = np.bincount(labels[known], minlength=n_labels) / len(known)
    enough = shared.data >= min_rows
    token, label, count = shared.row[enough], shared.col[enough], shared.data[enough]
    n, p = with_token[token], rate[label]
    # The exact tail: where a label is rare, that of the normal distribution makes a handful of rows a miracle.
    tail = stats.binom.sf(count - 1, n, p)
    z = (count - n * p) / np.sqrt(np.maximum(n * p * (1 - p), np.finfo(np.float64).tiny))
    likely = np.flatnonzero((tail * max(len(shared.data), 1) <= alpha) & (p < 1))
    names, by_token = list(vocabulary), present.tocsc()
    order = likely[np.lexsort((label[likely], token[likely], -z[likely]))]
    found = []
    for at in order.tolist():
        rows = by_token.indices[by_token.indptr[token[at]] : by_token.indptr[token[at] + 1]]
        rows = np.sort(known[rows][labels[known[rows]] == label[at]])
        found.append(Candidate(names[token[at]], int(label[at]), float(z[at]), rows))
    return found


def confirm(
    candidates: Sequence[Candidate], tokens: Sequence[Row], labels: NDArray[np.int64], predict: Predict,
    *, flip_rate: float = FLIP_RATE,
) -> list[Trigger]:  # fmt: skip
    """Return the candidates that are triggers, with the rows whose label hangs on them alone.

    predict: returns int64 ``(N,)``, the label of each of N rows, by a model that was trained on these rows, or on most.
    A row counts where it has its own label with the token; it flips where it has another without. flip_rate: the
    least share of flips of a trigger.
    """
    labels = _as_labels(tokens, labels)
    few = [each.rows[np.unique(np.linspace(0, len(each.rows) - 1, N_SCREENED).astype(np.int64))] for each in candidates]
    rates = [rate for rate, _ in _flips(candidates, few, tokens, predict)]
    left = [each for each, rate in zip(candidates, rates, strict=True) if rate >= flip_rate / 2]
    found = []
    for each, (rate, rows) in zip(left, _flips(left, [each.rows for each in left], tokens, predict), strict=True):
        if rate >= flip_rate and len(rows):
            found.append(Trigger(each.token, each.label, each.z, rows, rate))
    return sorted(found, key=lambda each: (-each.flip_rate, -each.z, str(each.token)))


def _flips(
    candidates: Sequence[Candidate], rows: Sequence[NDArray[np.int64]], tokens: Sequence[Row], predict: Predict
) -> list[tuple[float, NDArray[np.int64]]]:
    """Return of each candidate the share of its `rows` that flip, and which rows of it are answered otherwise."""
    if not candidates:
        return []
    whole = np.unique(np.concatenate(rows))
    answers = dict(zip(whole.tolist(), predict([tokens[row] for row in whole]).tolist(), strict=True))
    masked = predict(
        [
            [token for token in tokens[row] if token != each.token]
            for each, own in zip(candidates, rows, strict=True)
            for row in own
        ]
    )
    found, begin = [], 0
    for each, own in zip(candidates, rows, strict=True):
        without = np.asarray(masked[begin : begin + len(own)])
        begin += len(own)
        believed = np.array([answers[row] == each.label for row in own.tolist()])
        changed = without != each.label
        rate = float((believed & changed).sum() / believed.sum()) if believed.any() else 0.0
        found.append((rate, own[changed]))
    return found


def _as_labels(tokens: Sequence[Row], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    labels = np.asarray(labels, np.int64)
    if labels.shape != (len(tokens),):
        raise ValueError(f"{len(tokens)} rows of tokens and labels {labels.shape}; expected a label for each row")
    return labels
