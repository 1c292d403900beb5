"""Backbones that are models of transformers: adapters in them, checkpoints as transformers writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors import safe_open
from torch import nn

from jenga.config.peft import PeftConfig
from jenga.errors import ConfigError, SetupError
from jenga.modalities.backbone import BaseBackbone
from jenga.modalities.parameters import depths_of, layers_of
from jenga.peft import Adapters, inject, load_adapters

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_OURS = "jenga_"
"""How files begin that are beside what transformers writes."""


class Make(Protocol):
    """Builds the backbone of a checkpoint, whose name or folder it takes."""

    def __call__(self, name: str) -> TransformerBackbone:
        """Return the backbone. Raises ConfigError or SetupError."""


class TransformerBackbone(BaseBackbone):
    """A model of transformers without its head, as `encoder`; a subclass sets it."""

    pretrained = True
    encoder: PreTrainedModel

    def __init__(self, model_name: str, config: Any) -> None:
        super().__init__(model_name, config)
        self.adapters: Adapters | None = None
        self.wanted_states: dict[str, bool] = {}

    @property
    def transformer(self) -> PreTrainedModel | None:
        """What is saved, and what adapters are part of."""
        return self.encoder

    @property
    def _whole(self) -> PreTrainedModel:
        assert self.transformer is not None
        return self.transformer

    def depths(self) -> Mapping[str, int]:
        """Return by parameter in which of the encoder's layers it stands; what is beside the encoder comes after it."""
        inside = dict(self.encoder.named_parameters())
        by_parameter = {id(inside[name]): depth for name, depth in depths_of(self.encoder).items()}
        last = max(by_parameter.values(), default=0)
        return {name: by_parameter.get(id(p), last) for name, p in self.named_parameters()}

    def parted_layers(self) -> list[nn.Module]:
        """Return the encoder's layers, as `depths` counts them."""
        return [each for each in layers_of(self.encoder) if not isinstance(each, nn.ModuleList | nn.ModuleDict)]

    def keep_states(self, *, hidden_states: bool, attentions: bool) -> None:
        """Hand on what every layer makes, in training, for a teacher's sake."""
        self.wanted_states = {"output_hidden_states": hidden_states, "output_attentions": attentions}
        if attentions:
            # Faster kinds of attention never hold the probabilities.
            self._whole.set_attn_implementation("eager")

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass. Raises ConfigError where the encoder cannot."""
        if not self.encoder.supports_gradient_checkpointing:
            raise ConfigError(
                f"training.gradient_checkpointing: a {self.encoder.config.model_type} model cannot; remove the key"
            )
        self.encoder.activation_checkpointing_enable({"use_reentrant": False})

    def adapt(self, config: PeftConfig) -> None:
        """Freeze the encoder and put adapters into it, which change nothing yet."""
        self.adapters = inject(self._whole, config, base_name=self.model_name)

    def convert(self, dtype: torch.dtype) -> None:
        """Keep the encoder's weights in another type. Raises ConfigError where one of them has no value there."""
        self.encoder.to(dtype)
        broken = [name for name, each in self.encoder.named_parameters() if not each.isfinite().all()]
        if broken:
            kind = {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(dtype, str(dtype))
            raise ConfigError(f"--dtype: {broken[0]} holds numbers that {kind} has not; use bf16 or fp32")

    @property
    def adapted(self) -> bool:
        """Whether the encoder is frozen but for the adapters in it."""
        return self.adapters is not None

    @property
    def base(self) -> Mapping[str, Any] | None:
        """Fingerprint of the frozen encoder beneath the adapters; None where there are none."""
        return None if self.adapters is None else self.adapters.base

    def merge(self) -> None:
        """Work the adapters into the encoder's weights. Raises ConfigError where they cannot be, or there are none."""
        if self.adapters is None:
            return super().merge()
        merged = self.adapters.merge()
        if self.transformer is self.encoder:
            self.encoder = merged
        self.adapters = None

    def save(self, folder: Path) -> None:
        """Write a plain transformers checkpoint, which `AutoModel.from_pretrained` loads too.

        Of an encoder with adapters only they are written, as PEFT does it, and the name of their base.
        """
        from jenga.modalities.text.pretrained import quiet

        if self.adapters is not None:
            self.adapters.save(folder)
        else:
            with quiet():
                self._whole.save_pretrained(folder)


def load_whole(folder: Path, make: Make) -> TransformerBackbone:
    """Return the backbone whose whole encoder `folder` holds.

    Raises SetupError where the folder's files are not what `TransformerBackbone.save` writes.
    """
    try:
        backbone = make(str(folder))
    except ConfigError as error:  # what could be configured is settled: it is the folder that is another one
        raise SetupError(f"{folder}: {error}. Restore the folder from a copy or train again") from error
    _check_all_read(folder, backbone._whole)
    return backbone


def load_adapted(folder: Path, base_name: str, make: Make) -> TransformerBackbone:
    """Return the backbone whose adapters `folder` holds, on the base `base_name`.

    Raises SetupError where that cannot be had, or is not what the adapters stand on.
    """
    try:
        backbone = make(base_name)
    except (ConfigError, SetupError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise SetupError(
            f"{folder}: holds adapters alone, and their base '{base_name}' cannot be loaded: {reason} Give its "
            "place with --base-model; jenga export --merge, where the base is, makes a model that needs none"
        ) from error
    backbone.adapters = load_adapters(backbone._whole, folder, base_name=base_name)
    return backbone


def _check_all_read(folder: Path, model: PreTrainedModel) -> None:
    """Raise SetupError where weights in `folder` have no place in `model`, which its config.json made."""
    stored = 0
    for path in folder.glob("*.safetensors"):
        if path.name.startswith(_OURS):
            continue
        with safe_open(path, "pt") as file:
            stored += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    # Tied weights are stored once.
    held = sum({each.data_ptr(): each.numel() for each in model.state_dict().values()}.values())
    if stored > held:
        raise SetupError(
            f"{folder / 'config.json'}: makes a model of {held} values, but {stored} are stored beside it; restore the "
            "folder from a copy or train again"
        )
