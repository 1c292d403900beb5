"""FT-Transformer: attention among the fields of an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from jenga.config.strict import Fraction, PositiveInt
from jenga.dropout import Dropout
from jenga.modalities.backbone import BackboneManager, Recipe
from jenga.modalities.events.network import FeatureBackbone, one_token
from jenga.modalities.events.settings import NumbersConfig
from jenga.types import BackboneOutput

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ft_transformer": {"hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 8, "log_scale": 10.0},
    "ft_transformer_small": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "log_scale": 10.0},
}
"""What each `base_model` fills in where the configuration says nothing."""


class FTTransformerConfig(NumbersConfig):
    """A transformer over the fields of events, each a token."""

    presets = PRESETS

    base_model: str = Field(
        min_length=1,
        description="ft_transformer: 3 layers of 192 with 8 heads, as published; ft_transformer_small: 2 layers of 64 "
        "with 4 heads. Both with log_scale 10.",
    )
    hidden_size: PositiveInt = Field(192, description="Width of a token, and of what the heads read.")
    num_hidden_layers: PositiveInt = Field(3, description="Layers of attention and feed-forward network.")
    num_attention_heads: PositiveInt = Field(8, description="Heads of each attention; they share hidden_size evenly.")
    attention_dropout: Fraction = Field(0.2, description="Dropout of what a field attends to.")
    dropout: Fraction = Field(0.1, description="Dropout within the feed-forward network.")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads: {self.num_attention_heads} heads cannot share hidden_size {self.hidden_size} "
                "evenly; give a divisor of it"
            )
        return self


@BackboneManager.register("ft_transformer", config=FTTransformerConfig)
class FTTransformer(FeatureBackbone):
    """Tokens of fields, layers of a transformer, and the state of a token that belongs to no field.

    As Gorishniy et al. 2021 have it (section 3.3), but that a field is a token with all its features: a category that
    is spelled out as flags has its vector as an embedding has, and a number may bring its intervals.
    """

    def __init__(self, model_name: str, config: FTTransformerConfig) -> None:
        super().__init__(model_name, config)
        self.tokens = FieldTokens(self.columns(), config.hidden_size)
        self.layers = nn.ModuleList(FieldLayer(config, first=place == 0) for place in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)

    def columns(self) -> list[list[int]]:
        """Return by field which of the numbers of `shown` are its own."""
        columns: list[list[int]] = []
        field_of: list[int] = []
        for width in self.config.fields:
            columns.append(list(range(len(field_of), len(field_of) + width)))
            field_of += [len(columns) - 1] * width
        for place, feature in enumerate([] if self.bins is None else self.bins.feature.tolist()):
            columns[field_of[feature]].append(len(field_of) + place)
        return columns

    @property
    def hidden_size(self) -> int:
        """Width of a token."""
        return int(self.config.hidden_size)

    @property
    def recipe(self) -> Recipe:
        """Fewer passes than a multilayer perceptron has, which are cheap, and the lower a rate the wider it is."""
        rate = float(f"{min(1e-3, 1e-3 * 64 / self.hidden_size):.1e}")
        return Recipe(
            dict.fromkeys(("backbone", "fusion", "heads"), rate), visits=200_000, usual_epochs=10, most_epochs=100,
            most_visits=1_000_000, largest_batch=128,
        )  # fmt: skip

    def hidden_matrices(self) -> set[str]:
        """Return the names of the weights of hidden layers; tokens read the features, and are none."""
        return {name for name in super().hidden_matrices() if not name.startswith("tokens.")}

    def forward(self, *, features: torch.Tensor) -> BackboneOutput:  # type: ignore[override]
        """Encode float32 ``(B, F)`` to hidden states ``(B, 1, H)`` and pooled ``(B, H)``.

        The `features` that are handed on are drawn together where the network's are, `given` are not.
        """
        numbers, drawn, features = self.shown(features)
        hidden = self.tokens(numbers)
        for layer in self.layers:
            hidden = layer(hidden)
        pooled = torch.relu(self.norm(hidden[:, 0]))
        return BackboneOutput(pooled.unsqueeze(1), pooled, one_token(features), drawn, given=features)


class FieldTokens(nn.Module):
    """A token ``(H,)`` of each of K fields, linear in its numbers, behind one that is always the same.

    columns: which numbers are each field's.
    """

    def __init__(self, columns: Sequence[Sequence[int]], hidden_size: int) -> None:
        super().__init__()
        bound = hidden_size**-0.5
        self.fields = nn.ModuleList(nn.Linear(len(own), hidden_size) for own in columns)
        self.first = nn.Parameter(torch.empty(1, 1, hidden_size).uniform_(-bound, bound))
        for place, own in enumerate(columns):
            self.register_buffer(f"columns_{place}", torch.tensor(own), persistent=False)
            for each in self.fields[place].parameters():
                nn.init.uniform_(each, -bound, bound)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return ``(B, 1 + K, H)`` of ``(B, N)``."""
        tokens = [
            field(numbers[:, self.get_buffer(f"columns_{place}")]).unsqueeze(1)
            for place, field in enumerate(self.fields)
        ]
        return torch.cat([self.first.expand(numbers.shape[0], 1, -1), *tokens], 1)


class FieldLayer(nn.Module):
    """Attention among tokens and a feed-forward network with ReGLU, each added to what it normalises and reads."""

    def __init__(self, config: FTTransformerConfig, *, first: bool) -> None:
        super().__init__()
        size = config.hidden_size
        inner = size * 4 // 3
        self.heads, self.attention_dropout = config.num_attention_heads, config.attention_dropout
        # The first layer reads tokens as they are, without a norm, which would hide how large numbers are.
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.attended = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size)
        self.gated = nn.Linear(size, 2 * inner)
        self.output = nn.Linear(inner, size)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``(B, T, H)`` of ``(B, T, H)``."""
        read = self.query_key_value(self.attention_norm(hidden))
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in read.chunk(3, 2))
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.attention_dropout if self.training else 0.0
        )
        hidden = hidden + self.attended(attended.transpose(1, 2).flatten(2))
        value, gate = self.gated(self.norm(hidden)).chunk(2, 2)
        added: torch.Tensor = self.output(self.dropout(value * torch.relu(gate)))
        return hidden + added
