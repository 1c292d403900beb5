"""Modalities: one room for all that is known of one kind of rows, from its settings to its backbones."""

from jenga.modalities.audio import modality as audio
from jenga.modalities.backbone import BackboneManager, BaseBackbone, Recipe
from jenga.modalities.base import MODALITIES, Encoder, Modality, modality_of
from jenga.modalities.events import modality as events
from jenga.modalities.text import modality as text
from jenga.modalities.vision import modality as vision

__all__ = [
    "MODALITIES",
    "BackboneManager",
    "BaseBackbone",
    "Encoder",
    "Modality",
    "Recipe",
    "audio",
    "events",
    "modality_of",
    "text",
    "vision",
]
