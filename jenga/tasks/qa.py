"""QA scoring: the criteria of a conversation, each of yes/no items or one grade, and the score they add up to."""

from __future__ import annotations

from typing import Any

import numpy as np

from jenga.config.tasks import QAScoringConfig
from jenga.tasks.base import TASK_REGISTRY, BaseTask
from jenga.tasks.metrics import Metric, agreement
from jenga.types import IGNORE_INDEX, HeadSpace, LabelKind


@TASK_REGISTRY.register("qa_scoring", config=QAScoringConfig)
class QAScoringTask(BaseTask):
    """Heads of items (binary cross-entropy) or of one grade (cross-entropy); null labels are not applicable."""

    @classmethod
    def kind_of(cls, head: Any) -> LabelKind:
        """Return ``items`` or ``class``, as the head's block says."""
        return "items" if head.kind == "items" else "class"

    def declared_metrics(self, space: HeadSpace) -> tuple[Metric, ...]:
        """Return the kind's metrics and those of the score."""
        return (*super().declared_metrics(space), Metric("score_mae", greater_is_better=False), Metric("kappa"))

    def score(self, head: str, values: np.ndarray, applicable: np.ndarray | None = None) -> np.ndarray:
        """Return each row's points for `head` as a share of the points that apply, in [0, 1], NaN where none applies.

        values: items ``(M, K)`` of 0/1, or grades ``(M,)``; applicable: bool of the same shape (default: all).
        """
        config = self._head_config(head)
        kind = self.kind_of(config)
        points = np.asarray(
            config.item_weights or (np.ones(config.num_labels) if kind == "items" else np.arange(config.num_labels)),
            float,
        )
        if applicable is None:
            applicable = np.ones(np.shape(values), bool)
        if kind == "class":
            reached = points[np.where(applicable, values, 0)] / max(points.max(), np.finfo(float).tiny)
            return np.where(applicable, reached, np.nan)
        possible = (applicable * points).sum(1)
        reached = (np.where(applicable, values, 0) * points).sum(1)
        share: np.ndarray = np.divide(reached, possible, out=np.full(len(possible), np.nan), where=possible > 0)
        return share

    def metrics(
        self, space: HeadSpace, predictions: Any, targets: Any, *, scores: np.ndarray | None = None
    ) -> dict[str, float]:
        """Add `score_mae` (share of points, over what applies) and Cohen's `kappa` to what the head's kind has."""
        found = super().metrics(space, predictions, targets)
        applicable = targets != IGNORE_INDEX if space.kind == "class" else ~np.isnan(targets)
        gold = self.score(space.head, np.where(applicable, targets, 0), applicable)
        error = np.abs(self.score(space.head, predictions, applicable) - gold)
        if not np.isnan(error).all():
            found["score_mae"] = float(np.nanmean(error))
        kappa = agreement(space.kind, predictions, targets)
        return found if kappa is None else {**found, "kappa": kappa}
