"""Callbacks: what happens beside training at its events."""

from jenga.callbacks.base import CALLBACK_REGISTRY, Action, BaseCallback
from jenga.callbacks.nested_learning import NestedLearning

__all__ = ["CALLBACK_REGISTRY", "Action", "BaseCallback", "NestedLearning"]
