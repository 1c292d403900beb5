"""What a model of events must beat: gradient-boosted trees on the very features that it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.labels import kind_named
from jenga.labels.judge import head_metrics
from jenga.modalities.baseline import Baseline
from jenga.types import IGNORE_INDEX, HeadSpace

SEED = 0
Features = NDArray[np.float32]


class Boosting(Baseline):
    """Histogram-based gradient boosting (Ke et al. 2017, LightGBM), as scikit-learn sets it.

    A classifier for classes and for each item, a regressor for each number. Where one class of several is normal, the
    ``auroc`` of all others against it is there too.
    """

    words = "gradient-boosted trees on the same features"

    def _metrics(self, space: HeadSpace, normal: int | None) -> dict[str, float]:
        train, test = (part.encoded.features for part in (self.train, self.test))
        assert train is not None
        assert test is not None
        key = space.task, space.head
        estimators = _Boosting()
        answers = kind_named(space.kind).learnt(space, (train, test), self.train.rows.labels[key], estimators)
        if answers is None:
            return {}
        targets = self.test.rows.labels[key]
        found = head_metrics(space, answers, targets)
        return found if normal is None else found | _auroc(estimators.less_than(normal, len(test)), targets, normal)


class _Boosting:
    """Gradient boosting as scikit-learn sets it; remembers the probabilities of the last classes."""

    def __init__(self) -> None:
        self.shares: dict[int, NDArray[np.float64]] = {}

    def classes(self, train: Features, targets: NDArray[np.int64], test: Features) -> NDArray[np.int64]:
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(random_state=SEED).fit(train, targets)
        shares = model.predict_proba(test)
        self.shares = dict(zip(model.classes_.tolist(), shares.T, strict=True))
        return np.asarray(model.classes_[shares.argmax(axis=1)], dtype=np.int64)

    def numbers(self, train: Features, targets: NDArray[np.float64], test: Features) -> NDArray[np.float64]:
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(random_state=SEED)
        return np.asarray(model.fit(train, targets).predict(test), dtype=float)

    def less_than(self, normal: int, rows: int) -> NDArray[np.float64]:
        """Return how little each row is of the class `normal`; all alike where nothing was there to tell apart."""
        return 1 - self.shares.get(normal, np.zeros(rows))


def _auroc(scores: NDArray[np.float64], targets: Any, normal: int) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    gold = np.asarray(targets, dtype=np.int64)
    known = gold != IGNORE_INDEX
    anomalous = gold[known] != normal
    if len(np.unique(anomalous)) == 1:
        return {}
    return {"auroc": float(roc_auc_score(anomalous, scores[known]))}
