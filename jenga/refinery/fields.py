"""The fields of a schema: of which kind a value of an event is, and so which columns become of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jenga.config.strict import PositiveFloat, PositiveInt, Strict
from jenga.refinery.paths import MOST_SELECTORS, is_set, parts_of

PATH_LIMIT = 512
"""Characters of a path; YAML reads no key of more than 1024."""

Hash = Literal["jenga", "murmur3"]
Buckets = Annotated[int, Field(ge=0, le=1 << 20)]
Bound = Annotated[float, Field(allow_inf_nan=False)]
PathText = Annotated[str, Field(min_length=1, max_length=PATH_LIMIT, pattern=r"^[^\x00-\x1f]+$")]

_PAIR = Field(min_length=2, max_length=2)
_HASH_WORDS = "jenga: the refinery's own, frozen in format 1; murmur3: the buckets of sklearn's FeatureHasher."


class BaseField(Strict):
    """What every field has."""

    path: PathText = Field(
        description="Where the value stands in an event; dots reach into objects and also match keys with dots, a[0] "
        "into lists; a[*] is all values of a list.",
    )
    paths: list[PathText] = Field(
        default_factory=list,
        description="In place of `path`: several places where the value may stand; the first that holds one counts.",
    )
    name: str = Field("", description="Name of the field's columns; default: the path.")
    indicator: bool | None = Field(
        None,
        description="Whether a column '<name>:missing' tells rows without the value (1) from others (0); default: only "
        "where the training rows lack it somewhere.",
    )
    required: bool = Field(False, description="Whether a row without the value goes to quarantine.")

    @model_validator(mode="before")
    @classmethod
    def _name_is_path(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        paths = data.get("paths")
        if "path" not in data and isinstance(paths, list) and paths and isinstance(paths[0], str):
            data = {**data, "path": paths[0]}
        if data.get("name") is None and isinstance(data.get("path"), str):
            return {**data, "name": data["path"]}
        return data

    @model_validator(mode="after")
    def _paths_fit_together(self) -> BaseField:
        if self.paths and self.paths[0] != self.path:
            raise ValueError(f"path and paths are both given; keep one of the two, such as paths: [{self.path}, ...]")
        for path in self.all_paths:
            parts = parts_of(path)
            if isinstance(parts[-1], int) and path.endswith("."):
                raise ValueError(f"path '{path}' names no key behind its brackets")
            if sum(isinstance(part, int) for part in parts) > MOST_SELECTORS:
                raise ValueError(f"path '{path}' has more than {MOST_SELECTORS} brackets")
            if is_set(path) != self.is_set:
                raise ValueError(f"paths: '{self.path}' and '{path}' must both have [*], or neither")
        return self

    @property
    def all_paths(self) -> list[str]:
        """Where the value may stand, the first choice first."""
        return self.paths or [self.path]

    @property
    def is_set(self) -> bool:
        """Whether a row has any number of values."""
        return is_set(self.path)


class NumericField(BaseField):
    """One column: a number, clipped, compressed and scaled."""

    kind: Literal["numeric"] = Field("numeric", description="What the value is, and so what becomes of it.")
    clip: Annotated[list[Bound | None], _PAIR] | None = Field(
        None, description="Lowest and highest raw value; what lies beyond is set to the bound. null: no bound."
    )
    clip_quantiles: Annotated[list[Annotated[float, Field(ge=0, le=1)]], _PAIR] | None = Field(
        None, description="The same bounds, as quantiles of the training rows."
    )
    log1p: bool = Field(False, description="Whether sign(x) * log(1 + |x|) takes the place of x, after clipping.")
    scale: Literal["standard", "minmax", "robust", "quantile", "none"] = Field(
        "standard",
        description="standard: mean 0, deviation 1; minmax: 0 to 1; robust: by median and quartiles; quantile: the "
        "share of training rows below; none: as it is.",
    )
    limit: PositiveFloat | None = Field(None, description="After scaling, values are held within [-limit, limit].")
    n_knots: int = Field(256, ge=2, le=10_000, description="Points of the curve of scale 'quantile'.")
    reduce: Literal["count", "sum", "mean", "min", "max"] | None = Field(
        None, description="Of a path with [*]: what of its values is the number."
    )

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> NumericField:
        if self.clip is not None and self.clip_quantiles is not None:
            raise ValueError("clip and clip_quantiles both bound the value; keep one of the two")
        for key in ("clip", "clip_quantiles"):
            low, high = getattr(self, key) or [None, None]
            if low is not None and high is not None and low >= high:
                raise ValueError(f"{key}: the lower bound comes first and must be smaller, got [{low:g}, {high:g}]")
        return self

    @model_validator(mode="after")
    def _sets_become_one_number(self) -> NumericField:
        if self.is_set and self.reduce is None:
            raise ValueError(
                f"path '{self.path}' leads to many values; reduce (count, sum, mean, min, max) makes them one"
            )
        if self.reduce is not None and not self.is_set:
            raise ValueError(f"reduce goes with a path that has [*], and '{self.path}' leads to one value")
        return self


class BooleanField(BaseField):
    """One column: 1 for true, 0 for false (true/false, t/f, yes/no, 1/0)."""

    kind: Literal["boolean"] = Field("boolean", description="What the value is, and so what becomes of it.")


class CategoricalField(BaseField):
    """One value of a limited set."""

    kind: Literal["categorical"] = Field("categorical", description="What the value is, and so what becomes of it.")
    encoding: Literal["onehot", "hash", "frequency"] = Field(
        "onehot",
        description="onehot: a column for each value of the training rows and one for others; hash: a fixed number of "
        "columns for any values; frequency: one column, the value's share of the training rows.",
    )
    max_categories: PositiveInt | None = Field(
        None,
        description="How many values are known, the most frequent first; default: 256 (onehot), 65536 (frequency).",
    )
    min_count: PositiveInt = Field(1, description="Training rows that must hold a value for it to be known.")
    n_buckets: int = Field(32, ge=1, le=1 << 20, description="Columns of encoding 'hash'.")
    signed: bool = Field(True, description="Whether half of the values count as -1, so that collisions cancel out.")
    hash: Hash = Field("jenga", description=_HASH_WORDS)

    @property
    def category_limit(self) -> int:
        """How many values are known at most."""
        return self.max_categories or (65_536 if self.encoding == "frequency" else 256)


class IPField(BaseField):
    """What an IPv4 or IPv6 address is: private, loopback, multicast, ...; on request its first bits."""

    kind: Literal["ip"] = Field("ip", description="What the value is, and so what becomes of it.")
    prefix_bits: int = Field(0, ge=0, le=128, description="How many of the first bits become columns.")


class PortField(BaseField):
    """A port number: its range, and which one by hash."""

    kind: Literal["port"] = Field("port", description="What the value is, and so what becomes of it.")
    n_buckets: Buckets = Field(16, description="Columns of the hash; 0: none.")


class TimestampField(BaseField):
    """A moment: hour and weekday as points on a circle, and the time since the row before."""

    kind: Literal["timestamp"] = Field("timestamp", description="What the value is, and so what becomes of it.")
    unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        "auto", description="Unit of a number since 1970; auto: by its size."
    )
    inter_arrival: bool = Field(True, description="Whether the time since the row before is a column.")
    by: PathText | None = Field(
        None,
        description="Path of the field (entity, categorical, ip or text) whose value tells whose event a row is, such "
        "as its user or host: the time is then that since the row before of the same one; default: of any.",
    )
    max_entities: int = Field(
        65_536,
        ge=1,
        le=1 << 24,
        description="How many of them are remembered; the one that was heard of longest ago is forgotten first.",
    )

    @model_validator(mode="after")
    def _entities_have_a_pace(self) -> TimestampField:
        if self.by is not None and not self.inter_arrival:
            raise ValueError("by says whose time since the row before is meant; set inter_arrival, or leave it out")
        return self


class EntityField(BaseField):
    """Whose event a row is, such as a user or a host, for `by` of a timestamp: no column but that of missing ones."""

    kind: Literal["entity"] = Field("entity", description="What the value is, and so what becomes of it.")


class HistoryField(BaseField):
    """One column: what the rows of the same entity before this one tell of it, within a window of time.

    It stands nowhere in an event, and its path is made of what it tells, such as ``user.name:3600s:new:source.ip``.
    """

    kind: Literal["history"] = Field("history", description="What the value is, and so what becomes of it.")
    path: PathText = Field("-", description="Made of the other keys: a history stands nowhere in an event.")
    by: PathText = Field(
        description="Path of the field (entity, categorical, ip or text) whose value tells whose event a row is."
    )
    tells: Literal["events", "distinct", "new", "surprise"] = Field(
        description="events: how many there were; distinct: how many different values of `of` they had; new: 1 where "
        "none had the value of this row, else 0; surprise: log((events + 1) / (events with this value + 1)).",
    )
    of: PathText | None = Field(None, description="Path of the field whose values are told of; of events, none.")
    time: PathText | None = Field(None, description="Path of the field of kind timestamp; default: the only one.")
    window_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="Seconds before a row of which its history tells."
    )
    max_entities: int = Field(
        16_384,
        ge=1,
        le=1 << 24,
        description="How many entities are remembered; the one that was heard of longest ago is forgotten first.",
    )
    max_events: int = Field(
        256,
        ge=1,
        le=1 << 12,
        description="How many rows of an entity are remembered at most, the last ones. All of them are gone through "
        "for each row but where events alone are told.",
    )

    @model_validator(mode="before")
    @classmethod
    def _path_is_made(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        parts = [data.get("by"), f"{data.get('window_s')}s", data.get("tells"), data.get("of")]
        if isinstance(window := data.get("window_s"), int | float):
            parts[1] = f"{float(window):.15g}s"
        if data.get("time") is not None:
            parts.append(f"by {data['time']}")
        if data.get("max_events", usual := cls.model_fields["max_events"].default) != usual:
            parts.append(f"of {data['max_events']}")
        path = ":".join(str(part) for part in parts if part is not None)
        if data.get("paths") or data.get("path", path) != path:
            raise ValueError("a history stands nowhere in an event; leave path out (name gives its column a name)")
        named = {**data, "path": path}
        return named if named.get("name") is not None else {**named, "name": path}

    @model_validator(mode="after")
    def _values_are_told_of(self) -> HistoryField:
        if (self.of is None) != (self.tells == "events"):
            raise ValueError(f"tells: {self.tells} goes {'with' if self.of is None else 'without'} `of`, a field")
        if self.required:
            raise ValueError("required: no row has a history of its own; require the field that it is by")
        return self

    def time_of(self, fields: Sequence[BaseField]) -> str:
        """Return the path of the moment that it counts by, one of `fields`; "" where that is not settled."""
        if self.time is not None:
            return self.time
        moments = [field.path for field in fields if field.kind == "timestamp"]  # type: ignore[attr-defined]
        return moments[0] if len(moments) == 1 else ""


class TextField(BaseField):
    """Free text such as domains, URLs and command lines: its length, entropy, kinds of bytes, and hashed n-grams."""

    kind: Literal["text"] = Field("text", description="What the value is, and so what becomes of it.")
    ngram: int = Field(3, ge=1, le=64, description="Bytes of an n-gram.")
    n_buckets: Buckets = Field(32, description="Columns of the n-grams' hash; 0: none.")
    lower: bool = Field(True, description="Whether n-grams see A-Z as a-z.")
    signed: bool = Field(True, description="Whether half of the n-grams count as -1, so that collisions cancel out.")
    hash: Hash = Field("jenga", description=_HASH_WORDS)
    norm: Literal["l2", "none"] = Field("l2", description="l2: the n-gram columns of a row have length 1.")


AnyField = (
    NumericField
    | BooleanField
    | CategoricalField
    | EntityField
    | HistoryField
    | IPField
    | PortField
    | TimestampField
    | TextField
)
KINDS: dict[str, type[BaseField]] = {
    "numeric": NumericField,
    "boolean": BooleanField,
    "categorical": CategoricalField,
    "entity": EntityField,
    "history": HistoryField,
    "ip": IPField,
    "port": PortField,
    "timestamp": TimestampField,
    "text": TextField,
}
"""The kinds that a schema may name; `raw`, which only `extraction_plan` uses, is none of them."""
