"""Callbacks: what happens beside training at its events."""

from jenga.callbacks.base import CALLBACK_REGISTRY, Action, BaseCallback

__all__ = ["CALLBACK_REGISTRY", "Action", "BaseCallback"]
