"""Sequential backbone: a multilayer perceptron over the features that the refinery makes of an event."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator, model_validator
from safetensors.torch import load_model
from torch import nn

from jenga.config.paths import PathMark
from jenga.config.strict import Fraction, PositiveFloat, PositiveInt, Strict
from jenga.errors import ConfigError, SetupError, suggest
from jenga.modalities.backbone import WEIGHTS_FILE, BackboneManager, BaseBackbone, Recipe
from jenga.modalities.events.layers import (
    Activation,
    Layer,
    Normalization,
    Pieces,
    PiecewiseLinear,
    SignedLog,
    SmoothClip,
)
from jenga.peft.base import read_object
from jenga.types import BackboneOutput

SHAPE_FILE = "jenga_backbone.json"
PIECES_FILE = "pieces.safetensors"
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

SAMPLE_ROWS, MANY_SAMPLE_ROWS = 10_000, 50_000


with warnings.catch_warnings():
    # `schema` and `validate` are names of pydantic's deprecated methods; nothing here calls those.
    warnings.simplefilter("ignore", UserWarning)

    class RefineryConfig(Strict):
        """How events become features. Without `preset` and `schema`, the fields are found in the training rows."""

        preset: str | None = Field(None, description="Built-in schema, such as nsl_kdd or zeek_dns.")
        schema: Annotated[str | dict[str, Any] | None, PathMark.FILE] = Field(  # type: ignore[assignment]
            None, description="Path of a schema file (made by `jenga refine`), or its content."
        )
        validate: Literal["strict", "fast"] = Field(  # type: ignore[assignment]
            "strict", description="fast: do not look at what no field reads; broken rows may pass."
        )
        nan: Literal["quarantine", "missing"] = Field(
            "quarantine", description="What becomes of a row with a NaN or Infinity token; missing: only of its value."
        )
        duplicates: Literal["last", "quarantine"] = Field(
            "last", description="What becomes of a row that gives a key twice; last: the last one counts."
        )
        max_missing: Fraction = Field(
            0.5,
            description="An event is an error when it lacks a larger share of the fields that 99 of 100 training rows "
            "have, or has none at all.",
        )

        @field_validator("schema")
        @classmethod
        def _schema_is_one(cls, schema: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
            from jenga.refinery.schema import read_schema

            if isinstance(schema, dict):
                try:
                    read_schema(schema)
                except ConfigError as error:
                    raise ValueError(str(error)) from None
            return schema

        @model_validator(mode="after")
        def _one_origin(self) -> Self:
            if self.preset is not None and self.schema is not None:
                raise ValueError("preset and schema both name the fields; keep one of the two")
            return self


class TabularConfig(Strict):
    """What every backbone that reads features has; a registered one derives its own settings from it."""

    base_model: Annotated[str, PathMark.NAMED] = Field(min_length=1, description="Name of the network.")
    refinery: RefineryConfig = Field(default_factory=RefineryConfig, description="How events become features.")

    _n_features: int | None = PrivateAttr(default=None)

    @property
    def n_features(self) -> int:
        """Width F of the features, which the fitted refinery decides."""
        assert self._n_features is not None, "with_features() comes first"
        return self._n_features

    @property
    def sample_rows(self) -> int:
        """How many training rows `fitted` gets the features of, at most where they do not depend on one another."""
        return SAMPLE_ROWS

    def with_features(self, n_features: int) -> Self:
        """Return a copy for features of width `n_features`."""
        copy = self.model_copy()
        copy._n_features = n_features
        return copy

    def fitted(self, features: Callable[[], NDArray[np.float32]], folder: Path) -> Self:
        """Return a copy with what the network takes from the data before it is made. Default: itself, nothing.

        features: of training rows, ``(M, F)``. folder: of the run, where what was taken is kept, and found again as it
        goes on: its rows may be others then.
        """
        return self


class SequentialConfig(TabularConfig):
    """A multilayer perceptron over the features of events."""

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
    clip: PositiveFloat | None = Field(
        None, description="Draw features smoothly within this many of their units; none: as the refinery makes them."
    )
    log_scale: PositiveFloat | None = Field(
        None,
        description="Read the logarithm of 1 + this many times a feature, with its sign, in place of the feature; "
        "none: the feature.",
    )
    bins: PositiveInt | None = Field(
        None,
        description="Read each feature by up to this many intervals between its quantiles too; none: as a number only.",
    )
    values_shared_by: PositiveInt | None = Field(
        None,
        description="End intervals also at values that this many rows share and at those that follow them, of the up "
        "to 50,000 training rows by which intervals are found then, of up to 4 x bins values of a feature; none: at "
        "quantiles alone, of up to 10,000 rows.",
    )
    members: PositiveInt | None = Field(
        None,
        description="Networks that share their weights but for scales, and answer by their mean; none: one. For "
        "supervised tasks each learns by a loss of its own; in unsupervised ones and joint inputs they learn by that "
        "of their mean.",
    )

    _pieces: Pieces | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _as_the_preset(cls, given: Any) -> Any:
        preset = PRESETS.get(str(given.get("base_model")), {}) if isinstance(given, dict) else {}
        # `clip: null` is said: no clipping. Layers there have to be, and null leaves their widths to the preset.
        said = {key for key in preset if key in given and (key != "hidden_sizes" or given[key] is not None)}
        return {**given, **{key: value for key, value in preset.items() if key not in said}} if preset else given

    @field_validator("base_model")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(f"unknown '{name}'{suggest(name, PRESETS) or '.'} Known: {', '.join(PRESETS)}")
        return name

    @model_validator(mode="after")
    def _layers_are_given(self) -> Self:
        if self.hidden_sizes is None:
            raise ValueError(
                f"hidden_sizes: base_model '{self.base_model}' needs the widths of its layers, as [128, 64]"
            )
        return self

    @model_validator(mode="after")
    def _shared_values_end_intervals(self) -> Self:
        if self.values_shared_by is not None and self.bins is None:
            raise ValueError("values_shared_by: there are no intervals to end; give bins, as 32, or set it to null")
        return self

    @model_validator(mode="after")
    def _drawn_together_once(self) -> Self:
        if self.log_scale is not None and self.clip is not None:
            raise ValueError("log_scale and clip both draw features together; keep one of the two, the other null")
        return self

    @property
    def sample_rows(self) -> int:
        """Values that ten rows in all share are few in a sample of a third."""
        return SAMPLE_ROWS if self.values_shared_by is None else MANY_SAMPLE_ROWS

    @property
    def widths(self) -> list[int]:
        """Widths of the layers."""
        assert self.hidden_sizes is not None
        return list(self.hidden_sizes)

    @property
    def pieces(self) -> Pieces | None:
        """The intervals of the features; None where each is read as a number only."""
        assert self._pieces is not None or self.bins is None, "fitted() comes first"
        return self._pieces

    def with_pieces(self, pieces: Pieces) -> Self:
        """Return a copy for features of these intervals."""
        copy = self.with_features(self.n_features)
        copy._pieces = pieces
        return copy

    def fitted(self, features: Callable[[], NDArray[np.float32]], folder: Path) -> Self:
        """Return a copy with the intervals of the features of training rows ``(M, F)``, where there are to be any."""
        if self.bins is None:
            return self
        path = folder / PIECES_FILE
        if path.exists():
            return self.with_pieces(Pieces.read(path))
        pieces = Pieces.of(features(), self.bins, shared_by=self.values_shared_by)
        pieces.save(path)
        return self.with_pieces(pieces)


LARGEST_FEATURE = 1e6


@BackboneManager.register("sequential", config=SequentialConfig, aliases=("events",))
class SequentialBackbone(BaseBackbone):
    """Layers of linear, normalisation, activation and dropout; each event is one token.

    With several `members` it is an ensemble in one pass (TabM, Gorishniy et al. 2024): each learns by a loss of its own
    and the mean of what they say is what all else reads. Heads are linear, so it gives the mean of the members' logits.
    With `bins` it reads features by intervals too (Gorishniy et al. 2022); `clip` is of RealMLP (Holzmueller et al.
    2024).
    """

    modality = "events"

    def __init__(self, model_name: str, config: SequentialConfig) -> None:
        super().__init__(model_name, config)
        self.clip = _drawn_together(config)
        pieces = config.pieces
        self.bins = None if pieces is None else PiecewiseLinear(pieces)
        widths = [config.n_features + (0 if pieces is None else len(pieces.low)), *config.widths]
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
        # A single absurd number must end in an answer, not in infinities; what is scaled never comes near this.
        features = features.clamp(-LARGEST_FEATURE, LARGEST_FEATURE)
        clipped, members = self.clip(features), None
        hidden = clipped if self.bins is None else torch.cat([clipped, self.bins(features)], 1)
        if (self.config.members or 1) > 1:
            hidden = hidden.unsqueeze(1)
        for layer in self.layers:
            hidden = layer(hidden)
        if hidden.ndim == 3:
            members, hidden = hidden, hidden.mean(1)
        # Not len(): a traced graph would have this many rows for ever.
        mask = torch.ones(features.shape[0], 1, dtype=torch.int64, device=features.device)
        return BackboneOutput(hidden.unsqueeze(1), hidden, mask, clipped, members=members, given=features)

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors, and the shape of the network as JSON."""
        super().save(folder)
        pieces = {} if self.config.pieces is None else {"pieces": len(self.config.pieces.low)}
        (folder / SHAPE_FILE).write_text(json.dumps(_shape(self.config) | pieces, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, model_name: str, config: SequentialConfig) -> SequentialBackbone:
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
            config = config.with_pieces(Pieces.empty(_count_of_pieces(folder, saved)))
        backbone = cls(model_name, config)
        load_model(backbone, str(folder / WEIGHTS_FILE))
        return backbone


def _drawn_together(config: SequentialConfig) -> nn.Module:
    if config.log_scale is not None:
        return SignedLog(config.log_scale)
    return nn.Identity() if config.clip is None else SmoothClip(config.clip)


def _shape(config: SequentialConfig) -> dict[str, Any]:
    settings = config.model_dump(mode="json", exclude={"refinery"})
    return {"n_features": config.n_features, **settings, "hidden_sizes": config.widths}


def _count_of_pieces(folder: Path, saved: Mapping[str, Any]) -> int:
    count = saved.get("pieces")
    if not isinstance(count, int) or count < 0:
        raise SetupError(
            f"{folder / SHAPE_FILE}: pieces is {count!r}, no number of intervals; restore the folder from a copy"
        )
    return count
