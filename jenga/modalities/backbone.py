"""What every backbone is, and the registry of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_model, save_model
from torch import nn

from jenga.config.peft import PeftConfig
from jenga.errors import ConfigError
from jenga.modalities.parameters import depths_of, hidden_matrices
from jenga.registry import Registry
from jenga.types import BackboneOutput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class Recipe:
    """What trains a backbone well; it holds where the configuration gives no number.

    `rates`: AdamW's, of backbone, adapters, fusion and heads. `visits`: rows that a task shall see at least, each
    counted as often as it is seen; `most_epochs`: passes after which small data give no more; `usual_epochs`: passes
    over data that have more rows than that, up to `most_visits`: more are left to whoever asks for them.
    `largest_batch`: rows of a step. `weight_decay`: of weights (scales and shifts of members too), not of biases or
    norms. `by_answers`: the model with the best answers is kept where all are classes or entities; else that of the
    lowest loss. An encoder that has all its words by heart is surer of its mistakes from the third pass on, which the
    loss weighs by how sure it is, while its answers still get better.
    """

    rates: Mapping[str, float]
    visits: int = 20_000
    usual_epochs: int = 3
    most_epochs: int = 20
    most_visits: int = 300_000
    largest_batch: int = 32
    by_answers: bool = False
    weight_decay: float = 0.01

    @classmethod
    def pretrained(cls, hidden_size: int) -> Recipe:
        """Return that of a pretrained encoder. Wide ones want lower rates: 5e-5 at 768, as the field has them."""
        return cls(
            rates={
                "backbone": _scaled(5e-5, hidden_size, highest=1e-4),
                "adapters": _scaled(1e-3, hidden_size, highest=2e-3),
                "fusion": _scaled(5e-4, hidden_size, highest=1e-3),
                "heads": _scaled(5e-4, hidden_size, highest=1e-3),
            }
        )

    @classmethod
    def from_nothing(cls, hidden_size: int) -> Recipe:
        """Return that of a small encoder whose weights are random at the start: one high rate, and more passes."""
        rate = _scaled(5e-4, hidden_size, highest=3e-3)
        return cls(
            rates=dict.fromkeys(("backbone", "adapters", "fusion", "heads"), rate), visits=45_000, most_epochs=60
        )


def _scaled(at_768: float, hidden_size: int, *, highest: float) -> float:
    """Return a rate in inverse proportion to the width (Yang et al. 2022, for Adam), to two digits."""
    return float(f"{min(highest, at_768 * 768 / hidden_size):.1e}")


class BaseBackbone(nn.Module):
    """An encoder shared by tasks.

    A subclass builds its network in ``__init__(model_name, config)`` and returns from ``forward(**inputs)`` a
    `BackboneOutput` or a mapping with ``last_hidden_state (B, T, H)`` and ``pooler_output (B, H)``.

    `modality`: the name of what ``forward`` reads; None: the parameters of ``forward`` tell. `pretrained`: whether
    `model_name` is a checkpoint that the weights come from, which a model card then names as its origin.
    """

    modality: ClassVar[str | None] = None
    pretrained: ClassVar[bool] = False

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
    def recipe(self) -> Recipe:
        """What trains it well where the configuration gives no numbers; default: that of a pretrained encoder."""
        return Recipe.pretrained(self.hidden_size)

    @property
    def embeddings(self) -> nn.Module | None:
        """What makes vectors ``(B, T, E)`` of what is read; None: there are none by which positions could be told."""
        return None

    @property
    def cost_follows_tokens(self) -> bool:
        """Whether two passes over the halves of a batch cost about what one does: not in recurrent networks.

        These take a step a token, however many rows there are.
        """
        return not any(isinstance(module, nn.RNNBase) for module in self.modules())

    @property
    def skips_padding(self) -> bool:
        """Whether padding costs next to nothing on a CPU, so that one pass over rows of any length is the quickest."""
        return False

    @property
    def n_features(self) -> int | None:
        """Width F of the features that the encoder reads, as its settings say; None where it reads something else."""
        width: int | None = getattr(self.config, "n_features", None)
        return width

    def depths(self) -> Mapping[str, int]:
        """Return by parameter in which layer it stands, from 1 on: 0 before the first, the last's number after it.

        Of equal numbers, none are layers that `training.layer_decay` could tell apart. Default: `depths_of` the whole.
        """
        return depths_of(self)

    def parted_layers(self) -> list[nn.Module]:
        """Return the layers whose weights ``training.fsdp`` may part among processes, each used by its call alone.

        Between calls these are not there, and neither are those beside them outside of the backbone's own call; what
        `output_layer` gives is there until the backward pass. Default: none, and every process has the backbone whole.
        """
        return []

    def hidden_matrices(self) -> set[str]:
        """Return the names of the weights ``(.., ..)`` of hidden layers, which optimizers such as Muon are for.

        Default: `jenga.modalities.parameters.hidden_matrices` of the whole.
        """
        return hidden_matrices(self)

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

    def convert(self, dtype: torch.dtype) -> None:
        """Keep the weights in another type. Raises ConfigError where they cannot be."""
        raise ConfigError("--dtype: only encoders of transformers are kept in another type; leave it out")

    @property
    def output_layer(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weight ``(V, H)`` and bias ``(V,)`` of what turns hidden states into logits of tokens.

        Raises ConfigError where there is none.
        """
        raise ConfigError(
            f"model.backbone_type: {type(self).__name__} predicts no tokens; that needs a causal language model of "
            "transformers"
        )

    @property
    def transformer(self) -> PreTrainedModel | None:
        """The model of transformers that it is, with its output layer where it has one; None where it is none."""
        return None

    @property
    def frame_seconds(self) -> float | None:
        """Seconds from one position of ``last_hidden_state`` to the next; None where positions are no moments."""
        return None

    def frames(self, lengths: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Return the positions that it makes of rows of such `lengths` ``(M,)``, as the encoder counts them.

        None where that is not known before they are encoded.
        """
        return None

    @property
    def character_layer(self) -> Mapping[str, tuple[torch.Tensor, torch.Tensor]]:
        """What the checkpoint hears characters by: weight ``(H,)`` and bias ``()`` of each; '' is the blank of CTC.

        Empty where it hears none.
        """
        return {}

    def keep_states(self, *, hidden_states: bool, attentions: bool) -> None:
        """Hand on what every layer makes, in training, for a teacher's sake. Raises ConfigError where it cannot."""
        raise ConfigError(
            f"model.teacher_student_config: {type(self).__name__} hands on no inner states to match; remove "
            "hidden_states and attentions"
        )

    def save(self, folder: Path) -> None:
        """Write the weights to `folder` as safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self, str(folder / WEIGHTS_FILE))

    @classmethod
    def load(cls, folder: Path, model_name: str, config: Any) -> BaseBackbone:
        """Build the backbone again and read its weights from `folder`."""
        backbone = cls(model_name, config)
        backbone.read_weights(folder)
        return backbone

    def read_weights(self, folder: Path) -> None:
        """Read the weights that `BaseBackbone.save` wrote to `folder`."""
        load_model(self, str(folder / WEIGHTS_FILE))


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
        return cls.class_of(backbone_type)(model_name, config)

    @classmethod
    def load(cls, backbone_type: str, folder: Path, model_name: str, config: Any) -> BaseBackbone:
        """Return the backbone that `BaseBackbone.save` wrote to `folder`."""
        return cls.class_of(backbone_type).load(folder, model_name, config)

    @classmethod
    def class_of(cls, backbone_type: str) -> type[BaseBackbone]:
        """Return the class of this type. Raises ConfigError for an unknown one."""
        if backbone_type not in cls._REGISTRY:
            known = ", ".join(cls._REGISTRY)
            raise ConfigError(f"model.backbone_type: unknown '{backbone_type}'. Known: {known}")
        return cls._REGISTRY[backbone_type]
