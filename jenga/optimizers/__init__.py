"""Optimizers and learning-rate schedules by name: torch's, those of libraries, and those that users register."""

from jenga.optimizers.registries import OPTIMIZER_REGISTRY, OPTIMIZERS, SCHEDULER_REGISTRY, SCHEDULERS

__all__ = ["OPTIMIZERS", "OPTIMIZER_REGISTRY", "SCHEDULERS", "SCHEDULER_REGISTRY"]
