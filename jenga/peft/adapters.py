"""Bottleneck adapters: a small network after a frozen layer's output, before it joins the residual stream.

Houlsby et al. 2019 ("Parameter-Efficient Transfer Learning for NLP", section 2.1) put one after attention and one after
the feed-forward layers; Pfeiffer et al. 2021 ("AdapterFusion", section 3.3) found the latter alone as good.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from jenga.config.peft import BottleneckConfig
from jenga.dropout import Dropout
from jenga.errors import ConfigError, SetupError
from jenga.peft.base import Adapters

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG_FILE = "bottleneck_config.json"
WEIGHTS_FILE = "bottleneck_model.safetensors"
_CHILD = "bottleneck"
_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Sites(NamedTuple):
    """The layers that write to the residual stream, by their names within a numbered layer."""

    attention: tuple[str, ...]
    feed_forward: str


_BERT = Sites(("attention.output.dense",), "output.dense")
_LLAMA = Sites(("self_attn.o_proj",), "mlp.down_proj")
_BART = Sites(("self_attn.out_proj", "encoder_attn.out_proj"), "fc2")
SITES: Mapping[str, Sites] = {
    **dict.fromkeys(("bert", "camembert", "deberta", "deberta-v2", "electra", "roberta", "xlm-roberta"), _BERT),
    **dict.fromkeys(("gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3"), _LLAMA),
    **dict.fromkeys(("bart", "opt", "whisper"), _BART),
    "distilbert": Sites(("attention.out_lin",), "ffn.lin2"),
    "gpt2": Sites(("attn.c_proj",), "mlp.c_proj"),
    "modernbert": Sites(("attn.Wo",), "mlp.Wo"),
    "mpnet": Sites(("attention.attn.o",), "output.dense"),
    "vit": Sites(("attention.o_proj",), "mlp.fc2"),
}
"""By `model_type`."""


class Bottleneck(nn.Module):
    """x + up(dropout(activation(down(x)))) over ``(..., H)``; the identity at first, since `up` begins at zero."""

    def __init__(self, width: int, config: BottleneckConfig) -> None:
        super().__init__()
        self.down = nn.Linear(width, config.bottleneck)
        self.activation = _ACTIVATIONS[config.activation]()
        self.dropout = Dropout(config.dropout)
        self.up = nn.Linear(config.bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what joins the residual stream in place of `hidden`."""
        update: torch.Tensor = self.up(self.dropout(self.activation(self.down(hidden))))
        return hidden + update


class BottleneckAdapters(Adapters):
    """A `Bottleneck` after each of the encoder's layers that `places` names."""

    def __init__(
        self, encoder: PreTrainedModel, config: BottleneckConfig, *, base_name: str, base: dict[str, Any]
    ) -> None:
        super().__init__(encoder, base_name=base_name, base=base)
        self.config = config
        encoder.requires_grad_(False)
        self.modules: dict[str, Bottleneck] = {}
        for name in places(encoder, config.style):
            layer = encoder.get_submodule(name)
            weight = layer.weight
            assert isinstance(weight, torch.Tensor)
            width = weight.shape[0] if isinstance(layer, nn.Linear) else weight.shape[1]
            self.modules[name] = Bottleneck(width, config).to(weight.device)
            # A hook, not a wrapper: the layer keeps its name, its weights and what other code reads of it.
            layer.add_module(_CHILD, self.modules[name])
            layer.register_forward_hook(_pass_on)

    def _save(self, folder: Path) -> None:
        settings = {**self.config.model_dump(), "base_model_name_or_path": self.base_name}
        (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=1) + "\n")
        state = {
            f"{place}.{name}": value.detach().cpu().contiguous().clone()
            for place, module in self.modules.items()
            for name, value in module.state_dict().items()
        }
        save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})

    def merge(self) -> NoReturn:
        """Raise ConfigError: what a bottleneck does is not linear, so no weights of the base could do it."""
        raise ConfigError(
            "bottleneck adapters (peft.type: adapter) cannot be merged: they are no change of weights. Export without "
            "--merge, or train with peft.type: lora"
        )


def _pass_on(layer: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = layer._modules[_CHILD](output)  # type: ignore[misc]
    return found


def places(encoder: PreTrainedModel, style: str) -> list[str]:
    """Return the names of the layers that get a bottleneck. Raises ConfigError for an unknown architecture."""
    kind = encoder.config.model_type
    sites = SITES.get(kind)
    if sites is None:
        known = ", ".join(sorted(SITES))
        raise ConfigError(f"peft.type: adapter knows no places in a '{kind}' model; use lora, or one of: {known}")
    wanted = (*sites.attention, sites.feed_forward) if style == "houlsby" else (sites.feed_forward,)
    pattern = re.compile(rf"(?:.*\.)?\d+\.(?:{'|'.join(map(re.escape, wanted))})")
    found = [name for name, _ in encoder.named_modules() if pattern.fullmatch(name)]
    if not found:
        raise ConfigError(f"peft.type: adapter finds no layer '{sites.feed_forward}' in this {kind} model; use lora")
    return found


def load_bottlenecks(
    encoder: PreTrainedModel, folder: Path, *, base_name: str, base: dict[str, Any]
) -> BottleneckAdapters:
    """Put the bottlenecks in `folder` into `encoder`. Raises SetupError where they do not fit."""
    settings = json.loads((folder / CONFIG_FILE).read_text())
    settings.pop("base_model_name_or_path")
    adapters = BottleneckAdapters(encoder, BottleneckConfig(**settings), base_name=base_name, base=base)
    state = load_file(folder / WEIGHTS_FILE)
    wanted = {f"{place}.{name}" for place, module in adapters.modules.items() for name in module.state_dict()}
    if wanted != state.keys():
        raise SetupError(
            f"{folder}: the adapters do not fit '{base_name}', for example at {min(wanted ^ state.keys())}"
        )
    for place, module in adapters.modules.items():
        module.load_state_dict({name: state[f"{place}.{name}"] for name in module.state_dict()})
    return adapters
