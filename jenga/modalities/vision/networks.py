"""Networks of pictures: the preset, those of timm, and image models of transformers, as tokens ``(B, T, H)``."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from jenga.errors import ConfigError, SetupError
from jenga.extras import required
from jenga.modalities.parameters import depths_of
from jenga.modalities.text.pretrained import check_complete, checkpoint_of, read_checkpoint
from jenga.modalities.vision.pixels import MEAN, STD, Pixels
from jenga.modalities.vision.settings import TINY_VISION, VisionConfig

_USUAL_SIZE = 224


class Network(Protocol):
    """What a module of pictures says of itself. `size`: pixels of a side that it was trained on."""

    of_transformers: bool
    width: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens ``(B, T, H)`` and one vector a picture, ``(B, H)``."""


class TinyVision(nn.Module):
    """A residual network (He et al. 2016), random at the start, for pictures of 16 pixels and more."""

    of_transformers = False
    width, size, mean, std = 256, 32, MEAN, STD

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = _Convolution(3, 32)
        self.stages = nn.ModuleList(
            [_Residual(32, 64, stride=2), _Residual(64, 128, stride=2), _Residual(128, self.width, stride=1)]
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens, one a place of a sixteenth of the picture's pixels, and their mean."""
        hidden = self.stem(pixels)
        for stage in self.stages:
            hidden = stage(hidden)
        tokens = self.dropout(hidden.flatten(2).transpose(1, 2))
        return tokens, tokens.mean(1)

    def depths(self) -> dict[str, int]:
        """Return by parameter its stage, from 1 on; the stem has 0."""
        return depths_of(self)


class _Convolution(nn.Sequential):
    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.first = _Convolution(before, after, stride)
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = (self.second(self.first(hidden)) + self.shortcut(hidden)).relu()
        return made


class OfTimm(nn.Module):
    """A model of timm without its classifier."""

    of_transformers = False

    def __init__(self, name: str, *, pretrained: bool, dropout: float | None) -> None:
        super().__init__()
        timm = _timm()
        options: dict[str, Any] = {} if dropout is None else {"drop_rate": dropout}
        try:
            self.model = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
        except Exception as error:  # whatever a name, a network or a file makes it raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise SetupError(f"model.base_model: timm cannot make '{name}': {reason}") from error
        settings = self.model.pretrained_cfg
        self.width = int(self.model.num_features)
        self.size = int((settings.get("input_size") or (3, 224, 224))[-1])
        self.mean, self.std = tuple(settings.get("mean") or MEAN), tuple(settings.get("std") or STD)

    def depths(self) -> dict[str, int]:
        """Return by parameter the number of the layer that timm's matcher of the network puts it into; none: {}."""
        if not hasattr(self.model, "group_matcher"):
            return {}
        models = importlib.import_module("timm.models")
        found: dict[str, int] = models.group_parameters(
            self.model, self.model.group_matcher(coarse=False), reverse=True
        )
        return {f"model.{name}": depth for name, depth in found.items()}

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the places of its last feature map, or its tokens, and what its classifier would read."""
        hidden = self.model.forward_features(pixels)
        pooled = self.model.forward_head(hidden, pre_logits=True)
        if hidden.ndim == 4:
            # Some have the channels last.
            last = hidden.shape[-1] == self.width and hidden.shape[1] != self.width
            hidden = hidden.flatten(1, 2) if last else hidden.flatten(2).transpose(1, 2)
        if pooled.shape[-1] != hidden.shape[-1]:
            pooled = hidden.mean(1)
        return hidden, pooled

    def save(self, folder: Path) -> None:
        """Write the network as a folder of timm's own."""
        folder.mkdir(parents=True, exist_ok=True)
        _timm().models.save_for_hf(self.model, str(folder), model_args={"num_classes": 0}, safe_serialization=True)


class OfTransformers(nn.Module):
    """An image model of transformers without its head."""

    of_transformers = True

    def __init__(self, name: str, config: VisionConfig) -> None:
        super().__init__()
        from transformers import AutoModel

        model, missing = read_checkpoint(AutoModel, name, config, key="model.base_model")
        check_complete(name, [each for each in missing if "pooler" not in each], key="model.base_model")
        if getattr(model, "main_input_name", None) != "pixel_values":
            kind = model.config.model_type
            raise ConfigError(f"model.base_model: '{name}' is a {kind} model, which reads no pictures")
        self.model: Any = model
        settings = model.config
        sizes = getattr(settings, "hidden_sizes", None)
        self.width = int(getattr(settings, "hidden_size", None) or (sizes or [0])[-1])
        self.has_pooler = getattr(model, "pooler", None) is not None and not missing
        side = getattr(settings, "image_size", None) or _USUAL_SIZE
        pixels = Pixels.of_checkpoint(checkpoint_of(name), max(side) if isinstance(side, list | tuple) else side)
        self.size, self.mean, self.std = pixels.size, pixels.mean, pixels.std

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return its tokens, or the places of its last feature map, and their mean or its pooler's."""
        output = self.model(pixels)
        hidden = output.last_hidden_state
        if hidden.ndim == 4:
            hidden = hidden.flatten(2).transpose(1, 2)
        pooled = output.pooler_output.flatten(1) if self.has_pooler else hidden.mean(1)
        return hidden, pooled


def network(name: str, config: VisionConfig, *, pretrained: bool = True) -> Any:
    """Return a network by name. Raises ConfigError where it reads no pictures, SetupError where there is none."""
    if name == TINY_VISION:
        return TinyVision(config.dropout or 0.0)
    folder = Path(checkpoint_of(name))
    if is_of_timm(folder):
        return OfTimm(f"local-dir:{folder}", pretrained=True, dropout=config.dropout)
    if folder.is_dir() or ("/" in name and not name.startswith(("timm/", "hf-hub"))):
        return OfTransformers(name, config)
    return OfTimm(name.removeprefix("timm/"), pretrained=pretrained, dropout=config.dropout)


def is_of_timm(folder: Path) -> bool:
    """Return whether timm wrote the checkpoint in `folder`."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "architecture" in config and "model_type" not in config


def _timm() -> Any:
    return required("timm", extra="vision", need="models of timm need timm")
