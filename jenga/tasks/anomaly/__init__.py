"""Anomaly detection: learnt from labels, or from normal rows alone."""

from jenga.tasks.anomaly.task import AnomalyDetectionTask

__all__ = ["AnomalyDetectionTask"]
