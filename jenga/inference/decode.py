"""Logits of rows as answers that people and programs read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from jenga.data.rows import Rows
from jenga.data.tags import repair
from jenga.errors import SetupError
from jenga.tasks import BaseTask
from jenga.tasks.anomaly import AnomalyDetectionTask
from jenga.tasks.metrics import spans
from jenga.tasks.qa import QAScoringTask
from jenga.types import HeadSpace

_DIGITS = 6
Answers = list[dict[str, Any]]


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
        return _alerts(task, space, predictions, torch.stack(list(logits)), probabilities)
    match space.kind:
        case "class":
            return _classes(space, predictions, torch.stack(list(logits)), probabilities)
        case "items":
            return _items(space, predictions, torch.stack(list(logits)))
        case "tags":
            return [_entities(space, predictions[at], logits[at], rows, at, as_words[at]) for at in range(len(rows))]
        case "number":
            return _numbers(space, predictions)
    raise ValueError(f"{space.task}.{space.head}: a language head has no logits to read; it generates")


def add_scores(task: BaseTask, predictions: Mapping[str, np.ndarray], answers: Answers) -> None:
    """Give every head of a scored task, and the task, its share of the points, weighted by each head's points."""
    if not isinstance(task, QAScoringTask):
        return
    heads = list(task.heads.sizes)
    scores = np.array([task.score(head, predictions[head]) for head in heads])
    points = np.array([_points(task, head) for head in heads])
    for at, answer in enumerate(answers):
        for head, score in zip(heads, scores[:, at], strict=True):
            if not np.isnan(score):
                answer[head][free_name("score", answer[head])] = _rounded(score)
        scored = ~np.isnan(scores[:, at]) & (points > 0)
        if scored.any():
            answer[free_name("score", heads)] = _rounded(np.average(scores[scored, at], weights=points[scored]))


def free_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, with underscores added until it is not among `taken`."""
    while name in taken:
        name += "_"
    return name


def _alerts(
    task: AnomalyDetectionTask, space: HeadSpace, predictions: np.ndarray, logits: torch.Tensor, probabilities: bool
) -> Answers:
    calibrator = task.calibrator(space.head)
    limit = calibrator.threshold
    if limit is None:
        raise SetupError(
            f"head '{space.task}.{space.head}': the run ended before the threshold of its alerts was fitted; go on "
            "with it (--resume PATH), or train again"
        )
    raw = task.scores(space.head, logits)
    threshold = _rounded(calibrator.calibrated(np.array([limit]))[0])
    answers: Answers = [
        {"score": _rounded(score), "alert": bool(alert), "threshold": threshold}
        for score, alert in zip(calibrator.calibrated(raw), raw > limit, strict=True)
    ]
    if task.supervised:
        for answer, each in zip(answers, _classes(space, predictions, logits, probabilities), strict=True):
            answer |= each
    return answers


def _classes(space: HeadSpace, predictions: np.ndarray, logits: torch.Tensor, probabilities: bool) -> Answers:
    shares = logits.double().softmax(-1).numpy()
    answers: Answers = []
    for code, share in zip(predictions, shares, strict=True):
        answer: dict[str, Any] = {"label": space.labels[code], "probability": _rounded(share[code])}
        if probabilities:
            answer["probabilities"] = dict(zip(space.labels, map(_rounded, share), strict=True))
        answers.append(answer)
    return answers


def _items(space: HeadSpace, predictions: np.ndarray, logits: torch.Tensor) -> Answers:
    shares = logits.double().sigmoid().numpy()
    return [
        {
            label: {"value": bool(value), "probability": _rounded(share)}
            for label, value, share in zip(space.labels, row, row_shares, strict=True)
        }
        for row, row_shares in zip(predictions, shares, strict=True)
    ]


def _numbers(space: HeadSpace, predictions: np.ndarray) -> Answers:
    if space.size == 1:
        return [{"value": float(row[0])} for row in predictions]
    return [{"values": dict(zip(space.labels, map(float, row), strict=True))} for row in predictions]


def _entities(
    space: HeadSpace, tags: np.ndarray, logits: torch.Tensor, rows: Rows, at: int, as_words: bool
) -> dict[str, Any]:
    """Return the entities of a row; the probability of one is that of its least certain word."""
    assert rows.words is not None
    words, text = rows.words[at], rows.texts[at]
    shares = logits.double().softmax(-1).numpy()
    entities = []
    for first, last, label in sorted(spans(tags, space.labels)):
        start, end = words[first][0], words[last - 1][1]
        least = min(shares[word, tags[word]] for word in range(first, last))
        entities.append(
            {"start": start, "end": end, "label": label, "text": text[start:end], "probability": _rounded(least)}
        )
    answer: dict[str, Any] = {"entities": entities}
    if as_words:
        answer["tags"] = repair([space.labels[tag] for tag in tags])
    return answer


def _points(task: QAScoringTask, head: str) -> float:
    config = task._head_config(head)
    if task.kind_of(config) == "items":
        return float(sum(config.item_weights or [1] * config.num_labels))
    return float(max(config.item_weights or range(config.num_labels)))


def _rounded(probability: float) -> float:
    return round(float(probability), _DIGITS)
