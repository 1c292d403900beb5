"""Callbacks: what happens beside training at its events."""

from jenga.callbacks import sentinel  # noqa: F401 -- registers itself
from jenga.callbacks.base import CALLBACK_REGISTRY, Action, BaseCallback, GoBack
from jenga.callbacks.nested_learning import NestedLearning

__all__ = ["CALLBACK_REGISTRY", "Action", "BaseCallback", "GoBack", "NestedLearning"]
