"""What the settings of an anomaly task may combine."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jenga.tasks.anomaly.config import AnomalyConfig

TASK = {"name": "t", "data_path": "x.jsonl"}


def anomaly(**settings: Any) -> AnomalyConfig:
    head = {"name": "threat", **settings.pop("head", {})}
    return AnomalyConfig.model_validate({**TASK, "type": "anomaly_detection", "heads": [head], **settings})


UNSUPERVISED: dict[str, Any] = {"mode": "unsupervised"}
SVDD: dict[str, Any] = {**UNSUPERVISED, "method": "deep_svdd"}


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"loss": "ce"}, {"loss": "focal", "gamma": 0.5}, {"head": {"class_weight": "balanced"}}, UNSUPERVISED,
        {**UNSUPERVISED, "bottleneck": 2, "decoder": []}, {**UNSUPERVISED, "loss": "huber"}, {**SVDD, "projection": 4},
        {**UNSUPERVISED, "method": "nearest", "memory": 500},
        {**UNSUPERVISED, "method": "mahalanobis", "loss": "mse", "decoder": [8]},
        {"head": {"labels": ["ok", "bad"], "normal": "ok"}},
    ],
)  # fmt: skip
def test_settings_that_belong_together_are_accepted(settings: dict[str, Any]) -> None:
    assert anomaly(**settings).heads[0].name == "threat"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "deep_svdd"}, "method: a supervised task has none; remove it"),
        ({"bottleneck": 3}, "bottleneck: a supervised task has none"),
        ({"decoder": [3]}, "decoder: a supervised task has none"),
        ({"projection": 3}, "projection: a supervised task has none"),
        ({"loss": "mse"}, "loss: a supervised task has no 'mse'; allowed: ce, focal"),
        ({"gamma": 1.0}, "gamma: only the focal loss has it; set loss: focal, or remove gamma"),
        ({"loss": "focal", "head": {"label_smoothing": 0.1}}, "label_smoothing: the focal loss has none"),
        ({**UNSUPERVISED, "loss": "ce"}, "loss: autoencoder has no 'ce'; allowed: mse, huber"),
        ({**UNSUPERVISED, "projection": 3}, "projection: autoencoder has none"),
        ({**UNSUPERVISED, "gamma": 2.0}, "gamma: only the focal loss has it"),
        ({**UNSUPERVISED, "head": {"class_weight": "balanced"}}, "an unsupervised task learns no classes"),
        ({**UNSUPERVISED, "head": {"label_smoothing": 0.1}}, "an unsupervised task learns no classes"),
        ({**UNSUPERVISED, "head": {"calibration": "temperature"}}, "use platt or isotonic"),
        ({**UNSUPERVISED, "heads": [{"name": "a"}, {"name": "b"}]}, "heads: an unsupervised task has one"),
        ({**UNSUPERVISED, "memory": 3}, "memory: autoencoder has none"),
        ({**SVDD, "bottleneck": 3}, "bottleneck: deep_svdd has none"),
        ({**SVDD, "loss": "mse"}, "loss: deep_svdd has none"),
        ({"head": {"labels": ["ok", "bad"], "normal": "good"}}, "normal: 'good' is not among labels: ok, bad"),
        ({"head": {"target_fpr": 0.0}}, "greater than 0"),
        ({"head": {"target_fpr": 1.0}}, "less than 1"),
    ],
)
def test_settings_that_contradict_each_other_are_an_error(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        anomaly(**settings)
    assert words in str(caught.value)


def test_all_contradictions_of_a_task_are_told_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        anomaly(method="autoencoder", loss="huber", gamma=1.0)
    assert all(f"{key}: " in str(caught.value) for key in ("method", "loss", "gamma"))
