"""Encoders of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from jenga.config.peft import PeftConfig
from jenga.errors import ConfigError
from jenga.modalities.backbone import BackboneManager, BaseBackbone, Recipe
from jenga.modalities.transformer import TransformerBackbone, load_adapted, load_whole
from jenga.modalities.vision.networks import OfTimm, is_of_timm, network
from jenga.modalities.vision.settings import TINY_VISION, VisionConfig
from jenga.peft import base_of
from jenga.types import BackboneOutput

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@BackboneManager.register("vision", config=VisionConfig)
class VisionBackbone(TransformerBackbone):
    """A network of pictures without its classifier; the places of its last feature map are tokens.

    Networks of transformers take adapters, and are saved as transformers does it; others are not.
    """

    modality = "vision"

    def __init__(self, model_name: str, config: VisionConfig, *, pretrained: bool = True) -> None:
        super().__init__(model_name, config)
        self.network = network(model_name, config, pretrained=pretrained)

    @property
    def transformer(self) -> PreTrainedModel | None:
        """The model of transformers that the network is; None of others."""
        return self.network.model if self.network.of_transformers else None

    @property
    def encoder(self) -> Any:
        """The network itself."""
        return self.network.model if self.network.of_transformers else self.network

    @encoder.setter
    def encoder(self, model: PreTrainedModel) -> None:
        self.network.model = model

    @property
    def hidden_size(self) -> int:
        """Width of the tokens."""
        return int(self.network.width)

    @property
    def recipe(self) -> Recipe:
        """By what the weights were before the first step: trained, or random (of the preset)."""
        if self.model_name == TINY_VISION:
            rates = dict.fromkeys(("backbone", "adapters", "fusion", "heads"), 2e-3)
            return Recipe(rates, visits=60_000, usual_epochs=8, most_epochs=40, most_visits=2_000_000, largest_batch=64)
        return Recipe.pretrained(self.hidden_size)

    def forward(self, pixel_values: torch.Tensor) -> BackboneOutput:  # type: ignore[override]
        """Encode ``(B, 3, S, S)``."""
        hidden, pooled = self.network(pixel_values)
        mask = torch.ones(hidden.shape[:2], dtype=torch.int64, device=hidden.device)
        return BackboneOutput(hidden, pooled, mask)

    def adapt(self, config: PeftConfig) -> None:
        """Freeze the encoder and put adapters into it. Raises ConfigError where it is no model of transformers."""
        if self.transformer is None:
            raise ConfigError(
                f"peft: '{self.model_name}' is no model of transformers, and takes no adapters; remove the block"
            )
        super().adapt(config)

    def depths(self) -> Mapping[str, int]:
        """Return by parameter in which layer it stands, as timm groups them where the network is one of timm."""
        if self.transformer is not None:
            return super().depths()
        return {f"network.{name}": depth for name, depth in self.network.depths().items()}

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass. Raises ConfigError where the encoder cannot."""
        if self.transformer is None:
            return BaseBackbone.checkpoint_activations(self)
        super().checkpoint_activations()

    def keep_states(self, *, hidden_states: bool, attentions: bool) -> None:
        """Raise ConfigError: a network of pictures hands on no inner states."""
        BaseBackbone.keep_states(self, hidden_states=hidden_states, attentions=attentions)

    def save(self, folder: Path) -> None:
        """Write a checkpoint of transformers or timm, or adapters alone; of the preset the weights."""
        if isinstance(self.network, OfTimm):
            return self.network.save(folder)
        if self.transformer is None:
            return BaseBackbone.save(self, folder)
        super().save(folder)

    @classmethod
    def load(cls, folder: Path, model_name: str, config: VisionConfig) -> BaseBackbone:
        """Load what `save` wrote; model_name: of the network, or of the base of its adapters. Raises SetupError."""
        if base_of(folder) is not None:
            return load_adapted(folder, model_name, lambda name: cls(name, config))
        if is_of_timm(folder):
            return cls(str(folder), config)
        if (folder / "config.json").is_file():
            return load_whole(folder, lambda name: cls(name, config))
        backbone = cls(model_name, config, pretrained=False)
        backbone.read_weights(folder)
        return backbone
