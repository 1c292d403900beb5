"""What a model of events must beat: gradient-boosted trees on the very features that it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.tasks.metrics import head_metrics, labelled_rows
from jenga.types import IGNORE_INDEX, HeadSpace

SEED = 0
Features = NDArray[np.float32]


def boosting(
    space: HeadSpace, train: tuple[Features, Any], test: tuple[Features, Any], *, normal: int | None = None
) -> dict[str, float]:
    """Return the metrics of one head on `test` after fitting on `train`, each features ``(M, F)`` and targets.

    Histogram-based gradient boosting (Ke et al. 2017, LightGBM), as scikit-learn sets it: a classifier for classes and
    for each item, a regressor for each number. normal: where one class of several is normal, its place; then ``auroc``
    of all others against it is there too. A head without a labelled row in either part has {}. The same rows give the
    same numbers.
    """
    if not (labelled_rows(space, train[1]) and labelled_rows(space, test[1])):
        return {}
    if space.kind == "class":
        shares = _class_shares(space, *train, test[0])
        found = head_metrics(space, shares.argmax(axis=1), test[1])
        return found if normal is None else found | _auroc(1 - shares[:, normal], test[1], normal)
    fit = _item if space.kind == "items" else _number
    columns = np.asarray(train[1], dtype=float).reshape(-1, space.size).T
    return head_metrics(space, np.stack([fit(train[0], column, test[0]) for column in columns], axis=1), test[1])


def _class_shares(space: HeadSpace, train: Features, targets: Any, test: Features) -> NDArray[np.float64]:
    """Return the probability of each class, float64 ``(M, K)``; of one that has no training row, 0."""
    gold = np.asarray(targets, dtype=np.int64)
    known = gold != IGNORE_INDEX
    shares = np.zeros((len(test), space.size))
    classes = np.unique(gold[known])
    if len(classes) == 1:
        shares[:, classes[0]] = 1.0
    else:
        shares[:, classes] = _classifier().fit(train[known], gold[known]).predict_proba(test)
    return shares


def _item(train: Features, answers: NDArray[np.float64], test: Features) -> NDArray[np.bool_]:
    known = ~np.isnan(answers)
    gold = answers[known] > 0.5
    if not known.any() or len(np.unique(gold)) == 1:
        return np.full(len(test), bool(known.any() and gold[0]))
    return np.asarray(_classifier().fit(train[known], gold).predict(test), dtype=bool)


def _number(train: Features, numbers: NDArray[np.float64], test: Features) -> NDArray[np.float64]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    known = ~np.isnan(numbers)
    if not known.any():
        return np.zeros(len(test))
    model = HistGradientBoostingRegressor(random_state=SEED)
    return np.asarray(model.fit(train[known], numbers[known]).predict(test), dtype=float)


def _classifier() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=SEED)


def _auroc(scores: NDArray[np.float64], targets: Any, normal: int) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    gold = np.asarray(targets, dtype=np.int64)
    known = gold != IGNORE_INDEX
    anomalous = gold[known] != normal
    if len(np.unique(anomalous)) == 1:
        return {}
    return {"auroc": float(roc_auc_score(anomalous, scores[known]))}
