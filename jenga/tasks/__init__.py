"""Tasks: heads over hidden states, their losses and their metrics."""

from jenga.tasks import anomaly, causal_lm, classification, ner, qa, regression
from jenga.tasks.base import TASK_REGISTRY, BaseTask

__all__ = ["TASK_REGISTRY", "BaseTask", "anomaly", "causal_lm", "classification", "ner", "qa", "regression"]
