"""What every backbone is, and the registry of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from jenga.config.peft import PeftConfig
from jenga.errors import ConfigError
from jenga.registry import Registry
from jenga.types import BackboneOutput

WEIGHTS_FILE = "model.safetensors"


class BaseBackbone(nn.Module):
    """An encoder shared by tasks.

    A subclass builds its network in ``__init__(model_name, config)`` and returns from ``forward(**inputs)`` a
    `BackboneOutput` or a mapping with ``last_hidden_state (B, T, H)`` and ``pooler_output (B, H)``.

    `modality`: what ``forward`` takes; text: tokens, tabular: the features of events. `defaults`: settings that suit
    the backbone better than the general ones, by block; they hold where the configuration says nothing.
    """

    modality: ClassVar[Literal["text", "tabular"]] = "text"
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, model_name: str, config: Any) -> None:
        super().__init__()
        self.model_name = model_name
        self.config = config

    @property
    def hidden_size(self) -> int:
        """Width H of the hidden states: the encoder's ``config.hidden_size`` or ``num_features``.

        Raises TypeError when neither exists; then the subclass must define it.
        """
        encoder = self._modules.get("encoder")
        size = getattr(getattr(encoder, "config", None), "hidden_size", None) or getattr(encoder, "num_features", None)
        if not isinstance(size, int):
            # Not AttributeError, which nn.Module turns into its own "has no attribute".
            raise TypeError(f"{type(self).__name__}: define hidden_size, the width of last_hidden_state")
        return size

    @property
    def n_features(self) -> int | None:
        """Width F of the features that the encoder reads; None where it reads something else."""
        return None

    def forward(self, **inputs: torch.Tensor) -> BackboneOutput | Mapping[str, Any]:
        """Encode a batch's inputs."""
        raise TypeError(f"{type(self).__name__} has no forward(**inputs)")

    def adapt(self, config: PeftConfig) -> None:
        """Freeze the encoder and put adapters into it. Raises ConfigError where the backbone has no place for them."""
        raise ConfigError(f"peft: {type(self).__name__} takes no adapters (it has no adapt(config)); remove the block")

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass. Raises ConfigError where the backbone cannot."""
        raise ConfigError(f"training.gradient_checkpointing: {type(self).__name__} cannot; remove the key")

    @property
    def adapted(self) -> bool:
        """Whether the encoder is frozen but for the adapters in it."""
        return False

    @property
    def base(self) -> Mapping[str, Any] | None:
        """Fingerprint of the frozen encoder beneath the adapters; None where there are none."""
        return None

    def merge(self) -> None:
        """Work the adapters into the encoder's weights. Raises ConfigError where they cannot be, or there are none."""
        raise ConfigError("--merge: there are no adapters to merge: the encoder was trained whole; leave it out")

    def save(self, folder: Path) -> None:
        """Write the weights to `folder` as safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self, str(folder / WEIGHTS_FILE))

    @classmethod
    def load(cls, folder: Path, model_name: str, config: Any) -> BaseBackbone:
        """Build the backbone again and read its weights from `folder`."""
        backbone = cls(model_name, config)
        load_model(backbone, str(folder / WEIGHTS_FILE))
        return backbone


class BackboneManager:
    """Creates backbones by `backbone_type`.

    Users add one with ``BackboneManager._REGISTRY["vision"] = VisionBackbone``, or with
    ``@BackboneManager.register("vision")`` above the class.
    """

    _REGISTRY: ClassVar[Registry[BaseBackbone]] = Registry("backbone", entry_point_group="jenga.backbones")
    register = _REGISTRY.register

    @classmethod
    def create(cls, backbone_type: str, model_name: str, config: Any) -> BaseBackbone:
        """Return a new backbone. Raises ConfigError for an unknown type."""
        return cls._class_of(backbone_type)(model_name, config)

    @classmethod
    def load(cls, backbone_type: str, folder: Path, model_name: str, config: Any) -> BaseBackbone:
        """Return the backbone that `BaseBackbone.save` wrote to `folder`."""
        return cls._class_of(backbone_type).load(folder, model_name, config)

    @classmethod
    def modality(cls, backbone_type: str) -> Literal["text", "tabular"]:
        """Return what backbones of this type read. Raises ConfigError for an unknown type."""
        return cls._class_of(backbone_type).modality

    @classmethod
    def _class_of(cls, backbone_type: str) -> type[BaseBackbone]:
        if backbone_type not in cls._REGISTRY:
            known = ", ".join(cls._REGISTRY)
            raise ConfigError(f"model.backbone_type: unknown '{backbone_type}'. Known: {known}")
        return cls._REGISTRY[backbone_type]
