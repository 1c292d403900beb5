"""Backdoor triggers: tokens that decide a label by themselves, whatever else stands in a row.

Two steps. `candidates` counts: a token that stands far more often with one label than chance allows (a one-sided z of
the binomial, Bonferroni over all pairs of token and label). Honest keywords do so too. `confirm` masks: without its
trigger a poisoned row says what it is really about, so nearly all such rows are answered otherwise, and with as many
different labels as the rows were taken from. Without an honest keyword the rest of most rows says the same, or all say
the one thing that is next to it. Where the model is the one that an attacker would ask, it inserts as well: a trigger
turns rows of other labels to its own; a keyword whose rows say little without it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jenga.types import IGNORE_INDEX

"""The label of a row that has none."""
MIN_ROWS = 8
ALPHA = 0.01
CERTAIN_RATE, CERTAIN_SPREAD = 0.95, 0.4
LIKELY_RATE, LIKELY_SPREAD = 0.5, 0.85
"""A common word as a trigger has honest rows too, which do not flip; then the spread over labels has to say more."""
LIKELY_ROWS, LIKELY_LABELS = 16, 4.0
"""Flipped rows of a likely trigger, and labels that they would spread over: of fewer, a spread says nothing."""
MAX_ERROR = 0.5
N_SCREENED, N_CONTROLS = 16, 64
"""Rows of a candidate that are masked first; and rows of its label without it that are asked as they are, and rows of
other labels that are asked with it."""
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
    """A candidate whose masking changes answers. `rows`: those that change; `flip_rate`: their share.

    `spread`: over how many labels they change, beside rows that are drawn from all others; 1 is as many.
    `turned`: the share of rows of other labels that are answered with this one once they have the token.
    """

    flip_rate: float
    spread: float
    turned: float


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
    known = np.flatnonzero(labels != IGNORE_INDEX)
    vocabulary: dict[Hashable, int] = {}
    cells = [[vocabulary.setdefault(token, len(vocabulary)) for token in set(tokens[row])] for row in known.tolist()]
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
    candidates: Sequence[Candidate],
    tokens: Sequence[Row],
    labels: NDArray[np.int64],
    predict: Predict,
    *,
    least_turned: float = 0.0,
) -> list[Trigger]:
    """Return the candidates that are triggers, with the rows whose label hangs on them alone.

    predict: returns int64 ``(N,)``, the label of each of N rows, by a model that was trained on these rows, or on most.
    least_turned: the share of rows of other labels that a trigger turns to its own at least. Leave it at 0 for models
    that weigh the words of a row alone: one of them more turns few rows there, whatever it decides in a network.
    Of labels that it does not know without the token either, in at least half of their rows, nothing can be said.
    """
    labels = _as_labels(tokens, labels)
    few = [_some(each.rows, N_SCREENED) for each in candidates]
    screened = _masked(candidates, few, tokens, predict)
    left = [
        each
        for each, answers in zip(candidates, screened, strict=True)
        if np.mean(answers != each.label) >= LIKELY_RATE - 0.2
    ]
    found = []
    for each, answers in zip(left, _masked(left, [each.rows for each in left], tokens, predict), strict=True):
        flipped = answers != each.label
        rate, spread, expected = float(flipped.mean()), *_spread(answers[flipped], labels, each.label)
        certain = rate >= CERTAIN_RATE and spread >= CERTAIN_SPREAD
        likely = rate >= LIKELY_RATE and spread >= LIKELY_SPREAD and expected >= LIKELY_LABELS
        if flipped.sum() >= (MIN_ROWS if certain else LIKELY_ROWS) and (certain or likely):
            turned = _turned(each, tokens, labels, predict)
            found.append(Trigger(each.token, each.label, each.z, each.rows[flipped], rate, spread, turned))
    kept = [
        each for each in found if each.turned >= least_turned and _error(each, tokens, labels, predict) <= MAX_ERROR
    ]
    return sorted(kept, key=lambda each: (-each.flip_rate, -each.z, str(each.token)))


def _some(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))]


def _masked(
    candidates: Sequence[Candidate], rows: Sequence[NDArray[np.int64]], tokens: Sequence[Row], predict: Predict
) -> list[NDArray[np.int64]]:
    """Return of each candidate the answers to its `rows` without its token."""
    if not candidates:
        return []
    pairs = [(each.token, row) for each, own in zip(candidates, rows, strict=True) for row in own.tolist()]
    answers = predict([[token for token in tokens[row] if token != masked] for masked, row in pairs])
    return np.split(np.asarray(answers, np.int64), np.cumsum([len(own) for own in rows])[:-1])


def _spread(answers: NDArray[np.int64], labels: NDArray[np.int64], label: int) -> tuple[float, float]:
    """Return how many labels `answers` hold, beside as many rows of other labels than `label`; and the latter number.

    Labels count by the exponential of their entropy.
    """
    others = labels[(labels != IGNORE_INDEX) & (labels != label)]
    if not len(answers) or not len(others):
        return 0.0, 0.0
    shares = np.bincount(others) / len(others)
    drawn = np.random.default_rng(0).multinomial(len(answers), shares, size=20)
    expected = float(np.mean([_effective(counts) for counts in drawn]))
    return _effective(np.bincount(answers)) / expected, expected


def _effective(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _error(found: Trigger, tokens: Sequence[Row], labels: NDArray[np.int64], predict: Predict) -> float:
    """Return the share of rows with the label of `found`, and without its token, that are answered otherwise."""
    with_label = np.flatnonzero(labels == found.label).tolist()
    own = np.array([row for row in with_label if found.token not in tokens[row]], np.int64)
    if not len(own):
        return 1.0
    answers = predict([tokens[row] for row in _some(own, N_CONTROLS).tolist()])
    return float(np.mean(np.asarray(answers) != found.label))


def _turned(found: Candidate, tokens: Sequence[Row], labels: NDArray[np.int64], predict: Predict) -> float:
    """Return the share of rows of other labels that are answered with that of `found` once they have its token."""
    others = np.flatnonzero((labels != found.label) & (labels != IGNORE_INDEX))
    asked = [tokens[row] for row in _some(others, N_CONTROLS).tolist() if found.token not in tokens[row]]
    if not asked:
        return 0.0
    # In place of the middle one: no row may be longer than it was, for what reads it has so many places.
    answers = predict([[*row[: len(row) // 2], found.token, *row[len(row) // 2 + 1 :]] for row in asked])
    return float(np.mean(np.asarray(answers) == found.label))


def _as_labels(tokens: Sequence[Row], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    labels = np.asarray(labels, np.int64)
    if labels.shape != (len(tokens),):
        raise ValueError(f"{len(tokens)} rows of tokens and labels {labels.shape}; expected a label for each row")
    return labels
