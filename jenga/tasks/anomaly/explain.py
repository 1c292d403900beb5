"""Why a row raises an alert: how much each feature contributes to its score, in the terms of the event's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jenga.labels.shapes import ANYTHING, NUMBER, TEXT, record
from jenga.tasks.anomaly.detectors import Autoencoder
from jenga.tasks.anomaly.normal import anomaly_log_odds
from jenga.tasks.anomaly.task import AnomalyDetectionTask
from jenga.tasks.base import Tell
from jenga.types import BackboneOutput

DRIVERS = 5
"""Fields told of an alert."""
FEW_STEPS, STEPS = 16, 64
"""Points of the path that every row gets, and those whose contributions miss their score."""
TOLERANCE = 0.02
"""Share of the score that the contributions may miss it by."""
CHUNK_ROWS = 2048

DRIVER = record({"field": TEXT, "contribution": NUMBER, "value": ANYTHING, "quantile": ANYTHING, "share": ANYTHING})
"""The JSON schema of a driver."""
Encode = Callable[..., BackboneOutput | Mapping[str, Any]]


def add_drivers(
    task: AnomalyDetectionTask,
    answers: Sequence[dict[str, Any]],
    features: NDArray[np.float32],
    encode: Callable[[torch.Tensor], BackboneOutput],
    tell: Tell,
) -> None:
    """Give every answer of `task` that is an alert its ``"drivers"``: the fields that speak loudest.

    features ``(M, F)`` belong to `answers`, which hold ``"alert"`` by head; encode, tell: as of `BaseTask.explain`. A
    driver is ``{"field", "contribution", "value", "quantile", "share"}``, see `jenga.refinery.explain.Contribution`; up
    to `DRIVERS` of them, the largest contribution first, their figures to six digits as scores are.
    """
    for head in task.heads.sizes:
        alerts = [row for row, answer in enumerate(answers) if answer[head]["alert"]]
        if not alerts:
            continue
        parts = contributions(task, lambda features: encode(features), features[alerts], head=head)
        for row, drivers in zip(alerts, tell(alerts, parts, DRIVERS), strict=True):
            answers[row][head]["drivers"] = drivers


def contributions(
    task: AnomalyDetectionTask,
    backbone: Encode,
    features: torch.Tensor | NDArray[np.float32],
    *,
    head: str | None = None,
    steps: int | None = None,
) -> NDArray[np.float32]:
    """Return how much each feature of each row contributes to its anomaly score, float32 ``(M, F)``.

    The model must be in evaluation mode. backbone: what encodes ``features=(M, F)``, a backbone or a function, such as
    ``lambda features: model.encode({"features": features}, [name])[name]``, which takes the fusion along; head: of a
    task with several, default the first. What a row's contributions add up to:

    - nearest, autoencoder: its error, of which each feature has its own part.
    - else, by integrated gradients (Sundararajan et al. 2017, equation 1; `steps` points by the midpoint rule): the
      log-odds of not being normal, or the distance of deep_svdd and mahalanobis, less that of the mean of the normal
      training rows, where the path to the row begins. Exact but for the rule's error:
      without `steps`, a row whose `FEW_STEPS` points miss by more than `TOLERANCE` gets `STEPS`.

    Raises TypeError for a task whose encoder reads no features.
    """
    if not hasattr(task, "feature_mean"):
        raise TypeError(f"task '{task.config.name}' reads no features, so there is nothing to tell contributions of")
    name = head if head is not None else next(iter(task.heads.sizes))
    rows = torch.as_tensor(features, dtype=torch.float32, device=task.feature_mean.device)
    # A predictor may call from within inference mode, which has no gradients to give.
    with torch.inference_mode(False):
        rows = rows.clone()
        if not task.supervised and isinstance(task.detector, Autoencoder):
            with torch.no_grad():
                parts = [task.detector.parts(_encoded(backbone, chunk)) for chunk in rows.split(CHUNK_ROWS)]
            return torch.cat(parts).cpu().numpy()
        found = _integrated(task, backbone, rows, name, FEW_STEPS if steps is None else steps)
        if steps is None:
            # All of them together: a pass costs little more for many rows than for one.
            off = _off(task, backbone, rows, name, found)
            if off.any():
                found[off] = _integrated(task, backbone, rows[off], name, STEPS)
    return found.cpu().numpy()


def _off(
    task: AnomalyDetectionTask, backbone: Encode, rows: torch.Tensor, head: str, parts: torch.Tensor
) -> torch.Tensor:
    """Return which rows' contributions miss their score by more than `TOLERANCE`, bool ``(M,)``."""
    with torch.no_grad():
        ends = torch.cat([rows, task.feature_mean.unsqueeze(0)])
        scores = torch.cat([_score(task, _encoded(backbone, each), head) for each in ends.split(CHUNK_ROWS)])
    wanted = scores[:-1] - scores[-1]
    return (parts.sum(1) - wanted).abs() > TOLERANCE * wanted.abs()


def _integrated(
    task: AnomalyDetectionTask, backbone: Encode, rows: torch.Tensor, head: str, steps: int
) -> torch.Tensor:
    return torch.cat([_integrated_chunk(task, backbone, chunk, head, steps) for chunk in rows.split(CHUNK_ROWS)])


def _integrated_chunk(
    task: AnomalyDetectionTask, backbone: Encode, rows: torch.Tensor, head: str, steps: int
) -> torch.Tensor:
    start = task.feature_mean
    way = rows - start
    gradient = torch.zeros_like(rows)
    with torch.enable_grad():
        for step in range(steps):
            at = (start + (step + 0.5) / steps * way).requires_grad_()
            score = _score(task, _encoded(backbone, at), head)
            gradient += torch.autograd.grad(score.sum(), at)[0]
    return way * gradient / steps


def _score(task: AnomalyDetectionTask, encoded: BackboneOutput, head: str) -> torch.Tensor:
    if not task.supervised:
        return task.detector.error(encoded)
    return anomaly_log_odds(task.heads(encoded.pooler_output)[head].float(), task.normal[head])


def _encoded(backbone: Encode, rows: torch.Tensor) -> BackboneOutput:
    return BackboneOutput.of(backbone(features=rows), {"features": rows})
