"""Callbacks: what happens beside training at its events."""

from jenga.callbacks import sentinel, trackers  # noqa: F401 -- they register themselves
from jenga.callbacks.base import CALLBACK_REGISTRY, Action, BaseCallback, GoBack
from jenga.callbacks.nested_learning import NestedLearning

__all__ = ["CALLBACK_REGISTRY", "Action", "BaseCallback", "GoBack", "NestedLearning"]
