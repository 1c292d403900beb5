"""Sequential backbone: a multilayer perceptron over the features that the refinery makes of an event."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from jenga.config.strict import Fraction, PositiveInt
from jenga.modalities.backbone import BackboneManager, Recipe
from jenga.modalities.events.layers import Activation, Layer, Normalization
from jenga.modalities.events.network import FeatureBackbone, one_token
from jenga.modalities.events.settings import NumbersConfig
from jenga.types import BackboneOutput

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "security_mlp_v1": {"hidden_sizes": [128, 64]},
    "security_tab_v1": {"hidden_sizes": [128, 64], "clip": 1.0, "bins": 32, "dropout": 0.1},
    "tabular_v1": {
        "hidden_sizes": [128, 64],
        "log_scale": 10.0,
        "bins": 32,
        "values_shared_by": 20,
        "members": 8,
        "dropout": 0.1,
    },
    "mlp": {},
}
"""What each `base_model` fills in where the configuration says nothing; the rest is as in `SequentialConfig`."""


RECIPE = Recipe(
    dict.fromkeys(("backbone", "fusion", "heads"), 1e-3), visits=200_000, usual_epochs=20, most_epochs=100,
    most_visits=3_000_000, largest_batch=128,
)  # fmt: skip
"""Many cheap passes over large batches."""
RECIPES: Mapping[str, Recipe] = {
    # Values that few rows hold are learned in the passes that there are by a higher rate only.
    "tabular_v1": replace(RECIPE, rates=dict.fromkeys(RECIPE.rates, 3e-3), weight_decay=0.3),
}
"""What a `base_model` is trained by that is not trained as the others."""


class SequentialConfig(NumbersConfig):
    """A multilayer perceptron over the features of events."""

    presets = PRESETS

    base_model: str = Field(
        min_length=1,
        description="security_mlp_v1: layers of 128 and 64; security_tab_v1: these with clip 1, "
        "bins 32 and dropout 0.1; tabular_v1, the best of them on what was measured: with log_scale 10, bins 32, "
        "values_shared_by 20, members 8, dropout 0.1, a weight_decay of 0.3 and a rate of 3e-3; mlp: layers as in "
        "hidden_sizes.",
    )
    hidden_sizes: list[PositiveInt] | None = Field(
        None, min_length=1, description="Widths of the layers; the last one is what the heads read."
    )
    residual: bool = Field(False, description="Whether a layer adds its input (projected where widths differ).")
    normalization: Normalization = Field("none", description="Normalisation in front of each activation.")
    dropout: Fraction = Field(0.0, description="Dropout behind each layer.")
    activation: Activation = Field("relu", description="Non-linearity of each layer.")
    members: PositiveInt | None = Field(
        None,
        description="Networks that share their weights but for scales, and answer by their mean; none: one. For "
        "supervised tasks each learns by a loss of its own; in unsupervised ones and joint inputs they learn by that "
        "of their mean.",
    )

    @model_validator(mode="after")
    def _layers_are_given(self) -> Self:
        if self.hidden_sizes is None:
            raise ValueError(
                f"hidden_sizes: base_model '{self.base_model}' needs the widths of its layers, as [128, 64]"
            )
        return self

    @property
    def widths(self) -> list[int]:
        """Widths of the layers."""
        assert self.hidden_sizes is not None
        return list(self.hidden_sizes)


@BackboneManager.register("sequential", config=SequentialConfig, aliases=("events",))
class SequentialBackbone(FeatureBackbone):
    """Layers of linear, normalisation, activation and dropout; each event is one token.

    With several `members` it is an ensemble in one pass (TabM, Gorishniy et al. 2024): each learns by a loss of its own
    and the mean of what they say is what all else reads. Heads are linear, so it gives the mean of the members' logits.
    """

    def __init__(self, model_name: str, config: SequentialConfig) -> None:
        super().__init__(model_name, config)
        widths = [self.n_inputs, *config.widths]
        self.layers = nn.ModuleList(
            Layer(before, after, config, first=place == 0)
            for place, (before, after) in enumerate(itertools.pairwise(widths))
        )

    @property
    def hidden_size(self) -> int:
        """Width of the last layer."""
        return int(self.config.widths[-1])

    @property
    def recipe(self) -> Recipe:
        """That of the preset."""
        return RECIPES.get(self.model_name, RECIPE)

    def hidden_matrices(self) -> set[str]:
        """Return the names of the weights of hidden layers; the first layer reads the features, and is none."""
        return {name for name in super().hidden_matrices() if not name.startswith("layers.0.")}

    def forward(self, *, features: torch.Tensor) -> BackboneOutput:  # type: ignore[override]
        """Encode float32 ``(B, F)`` to hidden states ``(B, 1, H)`` and pooled ``(B, H)``.

        The `features` that are handed on are drawn together where the layers' are, `given` are not.
        """
        members = None
        hidden, drawn, features = self.shown(features)
        if (self.config.members or 1) > 1:
            hidden = hidden.unsqueeze(1)
        for layer in self.layers:
            hidden = layer(hidden)
        if hidden.ndim == 3:
            members, hidden = hidden, hidden.mean(1)
        return BackboneOutput(hidden.unsqueeze(1), hidden, one_token(features), drawn, members=members, given=features)
