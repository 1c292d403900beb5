"""What quick models say of rows that they did not learn: probabilities of classes, and numbers.

`Linear` is ridge regression on marks of classes, whose answer to a row left out follows from one solution for all (the
hat matrix; Hastie, Tibshirani & Friedman 2009, 7.52): as many folds as rows for the price of one. `Trees` are
histogram-based gradient boosting, in folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jenga.types import IGNORE_INDEX

N_FOLDS = 5
RIDGE = 0.3
MAX_LOG_TEMPERATURE = 6.0
_ROWS_AT_ONCE = 4096
Floats = NDArray[np.float64]


class QuickModel(Protocol):
    """A model that is quick to fit; `words`: what it is called in sentences."""

    words: str

    def probabilities(self, features: NDArray[Any], labels: NDArray[np.int64], n_classes: int) -> Floats:
        """Return ``(M, K)`` of M rows, each by a model that did not learn it. labels: int64, -100 where missing."""

    def numbers(self, features: NDArray[Any], values: Floats) -> Floats:
        """Return ``(M,)``, each by a model that did not learn its row. values: NaN where missing."""


@dataclass
class Linear:
    """Ridge regression on features of about unit length; probabilities by a softmax of fitted temperature.

    Memory beside the features and the answers is that of some thousand rows.
    """

    words: str = "a linear model"
    ridge: float = RIDGE
    _solved: dict[bytes, tuple[NDArray[Any], NDArray[Any]]] = field(default_factory=dict, repr=False)

    def probabilities(self, features: NDArray[Any], labels: NDArray[np.int64], n_classes: int) -> Floats:
        """Return probabilities ``(M, K)``, by leaving one out; see `QuickModel`."""
        scores = self._left_out(features, labels != IGNORE_INDEX, _Marks(labels, n_classes))
        factor = _temperature(scores, labels)
        for some in _pieces(len(scores)):
            scores[some] = _softmax(scores[some] * factor)
        return scores

    def numbers(self, features: NDArray[Any], values: Floats) -> Floats:
        """Return numbers ``(M,)``, by leaving one out; see `QuickModel`."""
        known = ~np.isnan(values)
        mean, scale = values[known].mean(), max(values[known].std(), 1e-12)
        targets = np.where(known, (values - mean) / scale, 0).astype(np.float32)[:, None]
        return np.asarray(self._left_out(features, known, targets)[:, 0] * scale + mean)

    def fitted(
        self, features: NDArray[Any], labels: NDArray[np.int64], n_classes: int
    ) -> Callable[[NDArray[Any]], NDArray[np.int64]]:
        """Return what answers features of other rows with their likeliest class, having learnt all rows."""
        weights, _ = self._weights(features, labels != IGNORE_INDEX, _Marks(labels, n_classes))
        return lambda others: np.asarray((_with_one(others) @ weights).argmax(axis=1), np.int64)

    def _left_out(self, features: NDArray[Any], known: NDArray[np.bool_], targets: _Targets) -> Floats:
        weights, leverage = self._weights(features, known, targets)
        scores = np.empty((len(features), weights.shape[1]))
        for some in _pieces(len(features)):
            own = (leverage[some] * known[some])[:, None]
            said = (_with_one(features[some]) @ weights).astype(np.float64)
            scores[some] = (said - own * targets[some]) / np.maximum(1 - own, 1e-3)
        return scores

    def _weights(
        self, features: NDArray[Any], known: NDArray[np.bool_], targets: _Targets
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return weights ``(F + 1, K)`` and how much each row, ``(M,)``, pulls its own answer.

        targets: ``(M, K)``, 0 of rows that are not known.
        """
        inverse, leverage = self._solution(features, known)
        summed: Any = sum(_with_one(features[some]).T @ targets[some] for some in _pieces(len(features)))
        return inverse @ summed, leverage

    def _solution(self, features: NDArray[Any], known: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the inverse ``(F + 1, F + 1)`` and how much each row, ``(M,)``, pulls its own answer."""
        key = known.tobytes()
        if key not in self._solved:
            gram = self.ridge * np.eye(features.shape[1] + 1)
            for some in _pieces(len(features)):
                rows = _with_one(features[some][known[some]])
                gram += rows.T @ rows
            inverse = np.linalg.inv(gram).astype(np.float32)
            leverage = np.empty(len(features), np.float32)
            for some in _pieces(len(features)):
                rows = _with_one(features[some])
                leverage[some] = ((rows @ inverse) * rows).sum(axis=1)
            self._solved = {key: (inverse, leverage)}
        return self._solved[key]


class _Targets(Protocol):
    """Targets ``(M, K)`` of rows, some at a time."""

    def __getitem__(self, some: slice, /) -> NDArray[Any]: ...


class _Marks:
    """A one for the class of each row, float32 ``(M, K)``; of rows without a label none."""

    def __init__(self, labels: NDArray[np.int64], n_classes: int) -> None:
        self._labels, self._n_classes = labels, n_classes

    def __getitem__(self, some: slice, /) -> NDArray[Any]:
        labels = self._labels[some]
        known = np.flatnonzero(labels != IGNORE_INDEX)
        marks = np.zeros((len(labels), self._n_classes), np.float32)
        marks[known, labels[known]] = 1
        return marks


@dataclass
class Trees:
    """Histogram-based gradient boosting, as scikit-learn sets it, in five folds."""

    words: str = "gradient-boosted trees"
    seed: int = 0

    def probabilities(self, features: NDArray[Any], labels: NDArray[np.int64], n_classes: int) -> Floats:
        """Return probabilities ``(M, K)``; see `QuickModel`."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        found = np.zeros((len(labels), n_classes))
        for train, test in self._folds(labels != IGNORE_INDEX):
            if np.ptp(labels[train]) == 0:
                found[test, labels[train[0]]] = 1
                continue
            # Early stopping would keep a tenth of the rows out of what is learnt, and its classes with it.
            model = HistGradientBoostingClassifier(random_state=self.seed, early_stopping=False)
            model.fit(features[train], labels[train])
            found[np.ix_(test, model.classes_)] = model.predict_proba(features[test])
        return found

    def numbers(self, features: NDArray[Any], values: Floats) -> Floats:
        """Return numbers ``(M,)``; see `QuickModel`."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        found = np.zeros(len(values))
        for train, test in self._folds(~np.isnan(values)):
            model = HistGradientBoostingRegressor(random_state=self.seed, early_stopping=False)
            found[test] = model.fit(features[train], values[train]).predict(features[test])
        return found

    def _folds(self, known: NDArray[np.bool_]) -> Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return the places of what is learnt and what is answered; rows without a label are only answered."""
        shuffled = np.random.default_rng(self.seed).permutation(len(known))
        parts = np.array_split(shuffled, min(N_FOLDS, len(known)))
        pairs = [(np.setdiff1d(np.flatnonzero(known), part), part) for part in parts]
        return [(train, part) for train, part in pairs if len(train)]


def _with_one(features: NDArray[Any]) -> NDArray[Any]:
    return np.hstack([np.asarray(features, np.float32), np.ones((len(features), 1), np.float32)])


def _pieces(n_rows: int) -> Iterator[slice]:
    return (slice(begin, begin + _ROWS_AT_ONCE) for begin in range(0, n_rows, _ROWS_AT_ONCE))


def _temperature(scores: Floats, labels: NDArray[np.int64]) -> float:
    """Return the factor of `scores` at which their softmax makes `labels`, where there are any, likeliest."""
    from scipy.optimize import minimize_scalar

    def loss(log_factor: float) -> float:
        total = 0.0
        for some in _pieces(len(labels)):
            known = np.flatnonzero(labels[some] != IGNORE_INDEX)
            shares = _softmax(scores[some][known] * np.exp(log_factor))[np.arange(len(known)), labels[some][known]]
            total -= float(np.log(np.maximum(shares, 1e-30)).sum())
        return total / max(int((labels != IGNORE_INDEX).sum()), 1)

    best = minimize_scalar(loss, bounds=(0.0, MAX_LOG_TEMPERATURE), method="bounded", options={"xatol": 0.05})
    return float(np.exp(best.x))


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
