"""Optimizers and learning-rate schedules by name: torch's, those of libraries, and those that users register."""

from jenga.optimizers.deep_momentum import DeepMomentum
from jenga.optimizers.m3 import M3
from jenga.optimizers.registries import OPTIMIZER_REGISTRY, OPTIMIZERS, SCHEDULER_REGISTRY, SCHEDULERS

__all__ = ["M3", "OPTIMIZERS", "OPTIMIZER_REGISTRY", "SCHEDULERS", "SCHEDULER_REGISTRY", "DeepMomentum"]
