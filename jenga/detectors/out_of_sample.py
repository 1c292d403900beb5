"""What quick models say of rows that they did not learn: probabilities of classes, and numbers.

`Linear` is ridge regression on marks of classes, whose answer to a row left out follows from one solution for all (the
hat matrix; Hastie, Tibshirani & Friedman 2009, 7.52): as many folds as rows for the price of one. `Trees` are
histogram-based gradient boosting, in folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

MISSING = -100
N_FOLDS = 5
RIDGE = 0.3
MAX_LOG_TEMPERATURE = 6.0
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
    """Ridge regression on features of about unit length; probabilities by a softmax of fitted temperature."""

    words: str = "a linear model"
    ridge: float = RIDGE
    _solved: dict[bytes, tuple[NDArray[Any], NDArray[Any]]] = field(default_factory=dict, repr=False)

    def probabilities(self, features: NDArray[Any], labels: NDArray[np.int64], n_classes: int) -> Floats:
        """Return probabilities ``(M, K)``, by leaving one out; see `QuickModel`."""
        known = labels != MISSING
        marks = np.zeros((len(labels), n_classes), np.float32)
        marks[np.flatnonzero(known), labels[known]] = 1
        scores = self._left_out(features, marks, known)
        return _softmax(scores * _temperature(scores[known], labels[known]))

    def numbers(self, features: NDArray[Any], values: Floats) -> Floats:
        """Return numbers ``(M,)``, by leaving one out; see `QuickModel`."""
        known = ~np.isnan(values)
        mean, scale = values[known].mean(), max(values[known].std(), 1e-12)
        targets = np.where(known, (values - mean) / scale, 0).astype(np.float32)[:, None]
        return np.asarray(self._left_out(features, targets, known)[:, 0] * scale + mean)

    def fitted(
        self, features: NDArray[Any], labels: NDArray[np.int64], n_classes: int
    ) -> Callable[[NDArray[Any]], NDArray[np.int64]]:
        """Return what answers features of other rows with their likeliest class, having learnt all rows."""
        known = labels != MISSING
        marks = np.zeros((len(labels), n_classes), np.float32)
        marks[np.flatnonzero(known), labels[known]] = 1
        inverse, _ = self._solution(features, known)
        weights = inverse @ (_with_one(features[known]).T @ marks[known])
        return lambda others: np.asarray((_with_one(others) @ weights).argmax(axis=1), np.int64)

    def _left_out(self, features: NDArray[Any], targets: NDArray[Any], known: NDArray[np.bool_]) -> Floats:
        inverse, leverage = self._solution(features, known)
        rows = _with_one(features)
        weights = inverse @ (rows[known].T @ targets[known])
        scores = (rows @ weights).astype(np.float64)
        own = leverage[:, None]
        scores[known] = ((scores - own * targets) / np.maximum(1 - own, 1e-3))[known]
        return np.asarray(scores)

    def _solution(self, features: NDArray[Any], known: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the inverse ``(F + 1, F + 1)`` and how much each row, ``(M,)``, pulls its own answer."""
        key = known.tobytes()
        if key not in self._solved:
            rows = _with_one(features)
            gram = (rows[known].T @ rows[known]).astype(np.float64)
            gram[np.diag_indices(len(gram))] += self.ridge
            inverse = np.linalg.inv(gram).astype(np.float32)
            self._solved = {key: (inverse, ((rows @ inverse) * rows).sum(axis=1))}
        return self._solved[key]


@dataclass
class Trees:
    """Histogram-based gradient boosting, as scikit-learn sets it, in five folds."""

    words: str = "gradient-boosted trees"
    seed: int = 0

    def probabilities(self, features: NDArray[Any], labels: NDArray[np.int64], n_classes: int) -> Floats:
        """Return probabilities ``(M, K)``; see `QuickModel`."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        found = np.zeros((len(labels), n_classes))
        for train, test in self._folds(labels != MISSING):
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


def _temperature(scores: Floats, labels: NDArray[np.int64]) -> float:
    """Return the factor of `scores` at which their softmax makes `labels` likeliest."""
    from scipy.optimize import minimize_scalar

    def loss(log_factor: float) -> float:
        shares = _softmax(scores * np.exp(log_factor))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(shares, 1e-30)).mean())

    best = minimize_scalar(loss, bounds=(0.0, MAX_LOG_TEMPERATURE), method="bounded", options={"xatol": 0.05})
    return float(np.exp(best.x))


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
