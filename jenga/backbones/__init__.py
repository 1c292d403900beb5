"""Backbones: encoders that turn a batch's inputs into hidden states."""

from jenga.backbones import sequential, text
from jenga.backbones.base import BackboneManager, BaseBackbone, Recipe

__all__ = ["BackboneManager", "BaseBackbone", "Recipe", "sequential", "text"]
