"""Settings of backbones over features: how events become features, and how networks read numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator, model_validator

from jenga.config.paths import PathMark
from jenga.config.strict import Fraction, PositiveFloat, PositiveInt, Strict
from jenga.errors import ConfigError, suggest
from jenga.modalities.events.layers import Pieces

PIECES_FILE = "pieces.safetensors"
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
    _fields: tuple[int, ...] = PrivateAttr(default=())

    @property
    def n_features(self) -> int:
        """Width F of the features, which the fitted refinery decides."""
        assert self._n_features is not None, "with_features() comes first"
        return self._n_features

    @property
    def fields(self) -> tuple[int, ...]:
        """Widths of the fields that the features are of, in their order; they sum to F."""
        return self._fields or (1,) * self.n_features

    @property
    def sample_rows(self) -> int:
        """How many training rows `fitted` gets the features of, at most where they do not depend on one another."""
        return SAMPLE_ROWS

    def with_features(self, n_features: int, fields: Sequence[int] = ()) -> Self:
        """Return a copy for features of width `n_features`. fields: as in `fields`; none: each feature is one."""
        copy = self.model_copy()
        copy._n_features, copy._fields = n_features, tuple(fields)
        return copy

    def fitted(self, features: Callable[[], NDArray[np.float32]], folder: Path) -> Self:
        """Return a copy with what the network takes from the data before it is made. Default: itself, nothing.

        features: of training rows, ``(M, F)``. folder: of the run, where what was taken is kept, and found again as it
        goes on: its rows may be others then.
        """
        return self


class NumbersConfig(TabularConfig):
    """How a network is shown numbers: drawn together, and by intervals.

    `presets`: what each `base_model` fills in where the configuration says nothing.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]]

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
    _pieces: Pieces | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _as_the_preset(cls, given: Any) -> Any:
        preset = cls.presets.get(str(given.get("base_model")), {}) if isinstance(given, dict) else {}
        # `clip: null` is said: no clipping. Layers there have to be, and null leaves their widths to the preset.
        said = {key for key in preset if key in given and (key != "hidden_sizes" or given[key] is not None)}
        return {**given, **{key: value for key, value in preset.items() if key not in said}} if preset else given

    @field_validator("base_model")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in cls.presets:
            raise ValueError(f"unknown '{name}'{suggest(name, cls.presets) or '.'} Known: {', '.join(cls.presets)}")
        return name

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
    def pieces(self) -> Pieces | None:
        """The intervals of the features; None where each is read as a number only."""
        assert self._pieces is not None or self.bins is None, "fitted() comes first"
        return self._pieces

    def with_pieces(self, pieces: Pieces) -> Self:
        """Return a copy for features of these intervals."""
        copy = self.with_features(self.n_features, self.fields)
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
