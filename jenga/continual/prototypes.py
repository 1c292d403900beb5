"""The rival that forgets nothing: class prototypes on an encoder that is never trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from jenga.continual.judging import Judged, Scores, scores_by_stage
from jenga.labels import kind_named
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.split import TRAIN
from jenga.rows.stages import Stage
from jenga.trainer.evaluate import Runner

Float = NDArray[np.float64]


class Prototypes:
    """The mean of each class, told apart by Mahalanobis distance with one covariance for all classes.

    As in Lee et al. 2018 ("A simple unified framework for detecting out-of-distribution samples", equation 2), used for
    continual learning by Janson et al. 2022 and Goswami et al. 2023 (FeCAM). The covariance within classes is shrunk
    towards a multiple of the identity by OAS (Chen et al. 2010, equation 23). All of it follows from sums, float64, so
    that rows are seen once, in any order of stages.
    """

    def __init__(self, n_classes: int, width: int) -> None:
        self.counts = np.zeros(n_classes)
        self.sums = np.zeros((n_classes, width))
        self.products = np.zeros((width, width))

    def fit(self, features: Float, classes: NDArray[np.int64]) -> None:
        """Take in rows: ``(M, H)`` with their classes ``(M,)``; those below 0 have none."""
        known = classes >= 0
        features, classes = features[known].astype(np.float64), classes[known]
        np.add.at(self.counts, classes, 1)
        np.add.at(self.sums, classes, features)
        self.products += features.T @ features

    def predict(self, features: Float) -> NDArray[np.int64]:
        """Return the nearest class that has been seen, int64 ``(M,)``."""
        seen = np.flatnonzero(self.counts)
        means = self.sums[seen] / self.counts[seen, None]
        n = self.counts.sum()
        scatter = self.products - (means.T * self.counts[seen]) @ means
        covariance = shrunk(scatter / n, int(n))
        # Where no class has two different rows, nothing is known of the spread: all directions count the same.
        precision = np.linalg.pinv(covariance, hermitian=True) if covariance.any() else np.eye(len(covariance))
        # The squared distance, without the part that is the same for all classes.
        weights = means @ precision
        logits = features.astype(np.float64) @ weights.T - 0.5 * (weights * means).sum(1)
        found: NDArray[np.int64] = seen[logits.argmax(1)]
        return found


def shrunk(covariance: Float, n: int) -> Float:
    """Return a covariance ``(H, H)`` of `n` rows, shrunk towards its mean variance by as much as OAS finds best."""
    width = len(covariance)
    mean = np.trace(covariance) / width
    alpha = (covariance**2).mean()
    numerator, denominator = alpha + mean**2, (n + 1.0) * (alpha - mean**2 / width)
    share = 1.0 if denominator <= 0 else min(numerator / denominator, 1.0)
    found: Float = (1 - share) * covariance
    found.flat[:: width + 1] += share * mean
    return found


def prototype_scores(
    runner: Runner, stages: Sequence[Stage], heads: Sequence[Sequence[Judged]], sources: Mapping[str, Source]
) -> list[list[Scores]] | None:
    """Return by stage the scores, by stage, of prototypes that have seen the training rows until then.

    They stand on what the encoder of `runner` says of rows now. None where a head has no classes.
    """
    if not all(kind_named(head.space.kind).strata for own in heads for head in own):
        return None
    features: dict[tuple[str, str, str], Float] = {}

    def of(head: Judged, split: str) -> Float:
        place = (head.source, split, head.space.task)
        if place not in features:
            features[place] = encoded(runner, sources[head.source].splits[split], head.space.task)
        return features[place]

    found: dict[str, Prototypes] = {}
    rows_of: list[list[Scores]] = []

    def score(head: Judged, split: str, rows: np.ndarray) -> float | None:
        own = found.get(head.name)
        if own is None:
            return None
        targets = sources[head.source].splits[split].rows.labels[head.key][rows]
        predictions = own.predict(of(head, split)[rows])
        return runner.model.tasks[head.space.task].metrics(head.space, predictions, targets).get(head.metric.name)

    for stage, own in zip(stages, heads, strict=True):
        for head in own:
            train, rows = sources[head.source].splits[TRAIN], stage.rows[head.source]
            seen = of(head, TRAIN)
            made = found.setdefault(head.name, Prototypes(head.space.size, seen.shape[1]))
            made.fit(seen[rows], np.asarray(train.rows.labels[head.key])[rows])
        rows_of.append(scores_by_stage(stages, heads, score))
    return rows_of


def encoded(runner: Runner, split: EncodedSplit, task: str) -> Float:
    """Return what the encoder of `task` says of each row as a whole, float64 ``(M, H)``."""
    runner.model.eval()
    found: Float | None = None
    with torch.no_grad():
        for index in runner.cut(split, task):
            batch = split.batch(index).to(runner.device)
            with runner.autocast():
                pooled = runner.model.encode(batch.inputs, [task])[task].pooler_output
            part = pooled.double().cpu().numpy()
            if found is None:
                found = np.empty((len(split), part.shape[1]))
            found[index] = part
    assert found is not None, "a stage without rows"
    return found
