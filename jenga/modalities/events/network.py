"""What every network over features does: show itself the numbers, and keep its shape beside its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from safetensors.torch import load_model
from torch import nn

from jenga.errors import SetupError
from jenga.modalities.backbone import WEIGHTS_FILE, BaseBackbone
from jenga.modalities.events.layers import Pieces, PiecewiseLinear, SignedLog, SmoothClip
from jenga.modalities.events.settings import NumbersConfig
from jenga.peft.base import read_object

SHAPE_FILE = "jenga_backbone.json"
LARGEST_FEATURE = 1e6


class FeatureBackbone(BaseBackbone):
    """A network over features ``(B, F)``, drawn together by `clip` or `log_scale` and read by intervals of `bins` too.

    `clip` is of RealMLP (Holzmueller et al. 2024), intervals are as Gorishniy et al. 2022 have them.
    """

    modality = "events"

    def __init__(self, model_name: str, config: NumbersConfig) -> None:
        super().__init__(model_name, config)
        self.clip = _drawn_together(config)
        self.bins = None if config.pieces is None else PiecewiseLinear(config.pieces)

    @property
    def n_inputs(self) -> int:
        """How many numbers `shown` gives of a row: F, and one an interval."""
        return int(self.config.n_features) + (0 if self.bins is None else len(self.bins.low))

    def shown(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what a network reads ``(B, n_inputs)``, the features drawn together, and as given ``(B, F)``."""
        # A single absurd number must end in an answer, not in infinities; what is scaled never comes near this.
        features = features.clamp(-LARGEST_FEATURE, LARGEST_FEATURE)
        drawn: torch.Tensor = self.clip(features)
        return drawn if self.bins is None else torch.cat([drawn, self.bins(features)], 1), drawn, features

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors, and the shape of the network as JSON."""
        super().save(folder)
        (folder / SHAPE_FILE).write_text(json.dumps(_shape(self.config), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, model_name: str, config: Any) -> Self:
        """Build the network again and read its weights.

        Raises SetupError where the features have another width, or `config` is of another network.
        """
        saved = read_object(folder / SHAPE_FILE)
        if (made_for := saved.get("n_features")) != config.n_features:
            raise SetupError(
                f"{folder}: the model reads {made_for} features, but the refinery beside it makes {config.n_features}; "
                "restore the folder from a copy"
            )
        for name, value in _shape(config).items():
            if saved.get(name) != value:
                raise SetupError(
                    f"{folder / SHAPE_FILE}: {name} is {saved.get(name)!r}, but the model's settings say {value!r}; "
                    "restore the folder from a copy or train again"
                )
        if config.bins is not None:
            config = config.with_pieces(_pieces(folder / WEIGHTS_FILE))
        backbone = cls(model_name, config)
        load_model(backbone, str(folder / WEIGHTS_FILE))
        return backbone


def one_token(features: torch.Tensor) -> torch.Tensor:
    """Return the mask ``(B, 1)`` of rows that are one token each."""
    # Not len(): a traced graph would have this many rows for ever.
    return torch.ones(features.shape[0], 1, dtype=torch.int64, device=features.device)


def _drawn_together(config: NumbersConfig) -> nn.Module:
    if config.log_scale is not None:
        return SignedLog(config.log_scale)
    return nn.Identity() if config.clip is None else SmoothClip(config.clip)


def _shape(config: NumbersConfig) -> dict[str, Any]:
    return {"n_features": config.n_features, **config.model_dump(mode="json", exclude={"refinery"})}


def _pieces(weights: Path) -> Pieces:
    """Return the intervals that are among saved weights."""
    with safe_open(weights, "pt") as file:
        names = {name: f"bins.{name}" for name in Pieces._fields}
        if missing := sorted(set(names.values()) - set(file.keys())):
            raise SetupError(
                f"{weights}: has no {missing[0]}, the intervals of the features; restore the folder from a copy"
            )
        return Pieces(**{name: file.get_tensor(kept) for name, kept in names.items()})
