"""Logits of rows as answers that people and programs read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from jenga.data.rows import Rows
from jenga.errors import SetupError
from jenga.labels import kind_named
from jenga.labels.base import Answers
from jenga.labels.tables import rounded
from jenga.tasks import BaseTask
from jenga.tasks.anomaly import AnomalyDetectionTask
from jenga.tasks.qa import QAScoringTask
from jenga.types import HeadSpace


def decode_head(
    space: HeadSpace,
    predictions: Any,
    logits: Sequence[torch.Tensor],
    rows: Rows,
    *,
    task: BaseTask,
    as_words: Sequence[bool],
    probabilities: bool,
) -> Answers:
    """Return each row's answer of one head of `task`; the forms are those of `Predictor.predict`.

    predictions: as `Runner.predictions` gives them; logits: each row's, ``(K,)`` or ``(W, K)``; as_words: whether a row
    was given as words, and so gets its tags by word too. Raises SetupError for a head of anomalies whose run ended
    before its threshold was fitted.
    """
    if isinstance(task, AnomalyDetectionTask):
        return _alerts(task, space, predictions, torch.stack(list(logits)), rows, probabilities)
    return kind_named(space.kind).decode(
        space, predictions, logits, rows, as_words=as_words, probabilities=probabilities
    )


def add_scores(task: BaseTask, predictions: Mapping[str, np.ndarray], answers: Answers) -> None:
    """Give every head of a scored task, and the task, its share of the points, weighted by each head's points."""
    if not isinstance(task, QAScoringTask):
        return
    scores, overall = task.scores_of(predictions)
    for at, answer in enumerate(answers):
        for head, column in scores.items():
            if not np.isnan(column[at]):
                answer[head][free_name("score", answer[head])] = rounded(column[at])
        if not np.isnan(overall[at]):
            answer[free_name("score", scores)] = rounded(overall[at])


def free_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, with underscores added until it is not among `taken`."""
    while name in taken:
        name += "_"
    return name


def _alerts(
    task: AnomalyDetectionTask,
    space: HeadSpace,
    predictions: np.ndarray,
    logits: torch.Tensor,
    rows: Rows,
    probabilities: bool,
) -> Answers:
    calibrator = task.calibrator(space.head)
    limit = calibrator.threshold
    if limit is None:
        raise SetupError(
            f"head '{space.task}.{space.head}': the run ended before the threshold of its alerts was fitted; go on "
            "with it (--resume PATH), or train again"
        )
    raw = task.scores(space.head, logits)
    threshold = rounded(calibrator.calibrated(np.array([limit]))[0])
    answers: Answers = [
        {"score": rounded(score), "alert": bool(alert), "threshold": threshold}
        for score, alert in zip(calibrator.calibrated(raw), raw > limit, strict=True)
    ]
    if task.supervised:
        classes = kind_named(space.kind).decode(
            space, predictions, list(logits), rows, as_words=[], probabilities=probabilities
        )
        for answer, each in zip(answers, classes, strict=True):
            answer |= each
    return answers
