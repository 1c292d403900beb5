"""Tasks: heads over hidden states, their losses and their metrics."""

from jenga.tasks import anomaly, classification, ner, qa, regression, sound_events, transcription
from jenga.tasks.base import TASK_REGISTRY, BaseTask
from jenga.tasks.language import task as language

__all__ = [
    "TASK_REGISTRY", "BaseTask", "anomaly", "classification", "language", "ner", "qa", "regression", "sound_events",
    "transcription",
]  # fmt: skip
