"""QA scoring: the criteria of a conversation, each of yes/no items or one grade, and the score they add up to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from jenga.config.tasks import LabelColumns, TaskConfig
from jenga.labels import kind_named
from jenga.labels.base import Answers
from jenga.labels.certain import Additive, ratio
from jenga.labels.items import ItemsHead
from jenga.labels.metric import Metric
from jenga.labels.shapes import SHARE, Shape
from jenga.labels.tables import rounded
from jenga.tasks.base import TASK_REGISTRY, BaseTask
from jenga.types import HeadSpace


class QAHead(ItemsHead):
    """One criterion of a scored conversation: yes/no items, or one grade of several."""

    kind: Literal["items", "class"] = Field("items", description="items: yes/no items; class: one grade, worst first.")
    item_weights: list[Annotated[float, Field(ge=0)]] | None = Field(
        None, description="Points of each item (or grade) in the score; default: 1 each (or 0 to K-1)."
    )

    @model_validator(mode="after")
    def _only_items_have_a_yes(self) -> QAHead:
        keys = ("columns", "pos_weight", "label_separator", "true_values", "false_values")
        own = kind_named(self.kind).block.model_fields
        given = [key for key in keys if key not in own and getattr(self, key) is not None]
        if given:
            raise ValueError(f"{', '.join(given)}: a grade has no yes; remove it, or set kind: items")
        return self


class QAScoringConfig(TaskConfig):
    """Criteria of a scored conversation; a null label means not applicable."""

    columns: LabelColumns = Field(default_factory=LabelColumns, description="Where column names are not the default.")
    heads: list[QAHead] = Field(min_length=1)


@TASK_REGISTRY.register("qa_scoring", config=QAScoringConfig)
class QAScoringTask(BaseTask):
    """Heads of items (binary cross-entropy) or of one grade (cross-entropy); null labels are not applicable."""

    @classmethod
    def kind_of(cls, head: Any) -> str:
        """Return ``items`` or ``class``, as the head's block says."""
        kind: str = head.kind
        return kind

    def declared_metrics(self, space: HeadSpace) -> tuple[Metric, ...]:
        """Return the kind's metrics and those of the score."""
        return (*super().declared_metrics(space), Metric("score_mae", greater_is_better=False), Metric("kappa"))

    def score(self, head: str, values: np.ndarray, applicable: np.ndarray | None = None) -> np.ndarray:
        """Return each row's points for `head` as a share of the points that apply, in [0, 1], NaN where none applies.

        values: items ``(M, K)`` of 0/1, or grades ``(M,)``; applicable: bool of the same shape (default: all).
        """
        values = np.asarray(values)
        known = np.ones(values.shape, bool) if applicable is None else applicable
        return self._kind(head).reached(self._points(head), values, known)[0]

    def scores_of(self, predictions: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return each row's score by head, and of the task, ``(M,)``: of all heads, by the points of each.

        predictions: by head. NaN where nothing applies.
        """
        scores, points = {}, []
        for head in self.heads.sizes:
            values = np.asarray(predictions[head])
            scores[head], most = self._kind(head).reached(self._points(head), values, np.ones(values.shape, bool))
            points.append(most)
        table, weights = np.array(list(scores.values())), np.array(points)[:, None]
        counted = ~np.isnan(table) & (weights > 0)
        total = (counted * weights).sum(0)
        gained = (np.where(counted, table, 0) * weights).sum(0)
        return scores, np.divide(gained, total, out=np.full(len(total), np.nan), where=total > 0)

    def complete(self, answers: Answers, predictions: Mapping[str, np.ndarray]) -> None:
        """Give every head, and the task, its share of the points, weighted by each head's points."""
        scores, overall = self.scores_of(predictions)
        for at, answer in enumerate(answers):
            for head, column in scores.items():
                if not np.isnan(column[at]):
                    answer[head][free_name("score", answer[head])] = rounded(column[at])
            if not np.isnan(overall[at]):
                answer[free_name("score", scores)] = rounded(overall[at])

    def shape(self, spaces: Sequence[HeadSpace]) -> Shape:
        """Add the scores, which are there where some item counts."""
        found = super().shape(spaces)
        for shape in found["properties"].values():
            shape["properties"][free_name("score", shape["properties"])] = SHARE
        found["properties"][free_name("score", found["properties"])] = SHARE
        return found

    def conditions(self, space: HeadSpace | None) -> frozenset[str]:
        """Return that of the task, and of its heads, ``score`` may be asked for too."""
        return super().conditions(space) | {"score"}

    def _points(self, head: str) -> np.ndarray:
        config = self._head_config(head)
        given = config.item_weights
        return np.asarray(given, float) if given else self._kind(head).points(config.num_labels)

    def metrics(
        self, space: HeadSpace, predictions: Any, targets: Any, *, scores: np.ndarray | None = None
    ) -> dict[str, float]:
        """Add `score_mae` (share of points, over what applies) and Cohen's `kappa` to what the head's kind has."""
        found = super().metrics(space, predictions, targets)
        error = self._score_errors(space, predictions, targets)
        if not np.isnan(error).all():
            found["score_mae"] = float(np.nanmean(error))
        kappa = kind_named(space.kind).agreement(predictions, targets)
        return found if kappa is None else {**found, "kappa": kappa}

    def additive(self, space: HeadSpace, predictions: Any, targets: Any) -> Additive | None:
        """Add ``score_mae``: rows that the kind takes for alike have one error."""
        found = super().additive(space, predictions, targets)
        if found is None:
            return None
        error = np.zeros(found.parts.shape[0])
        error[found.cells] = self._score_errors(space, predictions, targets)[
            kind_named(space.kind).labelled(space, targets)
        ]
        own = np.stack([np.nan_to_num(error), ~np.isnan(error)], axis=1)
        parts = found.parts.toarray() if hasattr(found.parts, "toarray") else found.parts

        def metrics(sums: np.ndarray) -> dict[str, np.ndarray]:
            return {**found.metrics(sums[:, :-2]), "score_mae": ratio(sums[:, -2], sums[:, -1])}

        return Additive(found.cells, np.hstack([parts, own]), metrics)

    def _score_errors(self, space: HeadSpace, predictions: Any, targets: Any) -> np.ndarray:
        """Return how far each row's score is off, NaN where nothing applies."""
        applicable = ~np.isnan(targets) if targets.dtype.kind == "f" else targets >= 0
        gold = self.score(space.head, np.where(applicable, targets, 0), applicable)
        off: np.ndarray = np.abs(self.score(space.head, predictions, applicable) - gold)
        return off


def free_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, with underscores added until it is not among `taken`."""
    while name in taken:
        name += "_"
    return name
