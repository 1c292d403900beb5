"""From schema and statistics to the compiled plan that the native refinery runs, and the names of its columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jenga.errors import ConfigError
from jenga.refinery.fields import (
    AnyField,
    BaseField,
    BooleanField,
    CategoricalField,
    EntityField,
    HistoryField,
    IPField,
    NumericField,
    PortField,
    TextField,
    TimestampField,
)
from jenga.refinery.histories import Layout, layout_of
from jenga.refinery.schema import RefinerySchema
from jenga.refinery.sketches import Moments, TokenCounts, ValueCounts
from jenga.refinery.statistics import NUMBER_KINDS, FieldStatistics, Statistics, compress

PLAN_VERSION = 2
UNKNOWN_CATEGORY = "<unknown>"
_HISTORY_LIMIT = 10.0
"""Standard deviations that a history goes up to, as presets let counts."""

Validate = Literal["strict", "fast"]
NaNPolicy = Literal["quarantine", "missing"]
DuplicatePolicy = Literal["last", "quarantine"]


@dataclass(frozen=True)
class CompiledPlan:
    """What the native functions run, and what its columns are.

    `plan`: UTF-8 JSON. `feature_names` and `feature_sources` (the path each is made of): F texts, both empty in a plan
    that is not fitted. `n_numbers` and `n_texts`: slots of a row's raw values. `histories`: which of them the native
    functions find nowhere, and which are told of the rows before; None where there are none.
    """

    plan: bytes
    feature_names: tuple[str, ...]
    feature_sources: tuple[str, ...]
    n_fields: int
    n_numbers: int
    n_texts: int
    histories: Layout | None = None

    @property
    def n_features(self) -> int:
        """Columns of the tensor."""
        return len(self.feature_names)


def compile_plan(
    schema: RefinerySchema,
    statistics: Statistics | None,
    *,
    validate: Validate = "strict",
    nan: NaNPolicy = "quarantine",
    duplicates: DuplicatePolicy = "last",
) -> CompiledPlan:
    """Return the plan of `schema`, fitted to `statistics`; without them it only extracts raw values.

    Raises ConfigError where two columns would have one name.
    """
    names: list[str] = []
    sources: list[str] = []
    entries = []
    for at, field in enumerate(schema.fields):
        entry = {"path": field.path, "kind": field.kind, "required": field.required, "column": -1, "indicator": -1}
        entry |= {"alternatives": field.all_paths[1:]} if len(field.all_paths) > 1 else {}
        entry |= _settings(field)
        if statistics is not None:
            known = statistics.fields[at]
            entry |= _fitted(known)
            columns = _columns(field, entry)
            entry["column"] = len(names) if columns else -1
            if field.indicator or (field.indicator is None and known.n_missing):
                entry["indicator"] = len(names) + len(columns)
                columns = [*columns, f"{field.name}:missing"]
            names += columns
            sources += [field.path] * len(columns)
        entries.append(entry)
    _refuse_repeats(names, sources)
    kinds = [field.kind for field in schema.fields]
    return CompiledPlan(
        _encoded(entries, len(names), schema.missing, validate=validate, nan=nan, duplicates=duplicates),
        tuple(names),
        tuple(sources),
        len(kinds),
        sum(kind in NUMBER_KINDS for kind in kinds),
        sum(kind not in NUMBER_KINDS for kind in kinds),
        layout_of(schema.fields, schema.missing),
    )


def extraction_plan(
    paths: Sequence[str],
    *,
    validate: Validate = "strict",
    nan: NaNPolicy = "quarantine",
    duplicates: DuplicatePolicy = "last",
) -> CompiledPlan:
    """Return the plan that takes out the raw JSON bytes of the values at `paths`, a text slot each."""
    entries = [{"path": path, "kind": "raw", "required": False, "column": -1, "indicator": -1} for path in paths]
    plan = _encoded(entries, 0, [], validate=validate, nan=nan, duplicates=duplicates)
    return CompiledPlan(plan, (), (), len(entries), 0, len(entries))


def _encoded(entries: list[dict[str, Any]], n_features: int, missing: Sequence[str], **policies: str) -> bytes:
    content = {"version": PLAN_VERSION, **policies, "missing": [*missing], "n_features": n_features, "fields": entries}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _settings(field: AnyField) -> dict[str, Any]:
    """Return the plan's entries of a field that training rows do not decide."""
    match field:
        case NumericField():
            neutral = {"offset": 0.0, "scale": 1.0, "knots": [], "references": []}
            reduce = {} if field.reduce is None else {"reduce": field.reduce}
            return {"clip": field.clip or [None, None], "log1p": field.log1p, "limit": field.limit, **reduce, **neutral}
        case CategoricalField(encoding="hash"):
            return field.model_dump(include={"encoding", "n_buckets", "signed", "hash"})
        case CategoricalField():
            frequencies: dict[str, Any] = {"frequencies": []} if field.encoding == "frequency" else {}
            return {"encoding": field.encoding, "values": [], **frequencies}
        case TimestampField():
            by = {} if field.by is None else {"by": field.by, "max_entities": field.max_entities}
            return {"unit": field.unit, "inter_arrival": field.inter_arrival, **by, "offset": 0.0, "scale": 1.0}
        case HistoryField():
            # To the native functions a number like others, but one that no event has.
            neutral = {"offset": 0.0, "scale": 1.0, "knots": [], "references": []}
            return {"kind": "numeric", "clip": [None, None], "log1p": True, "limit": _HISTORY_LIMIT, **neutral}
        case EntityField():
            # Read as a category is, and nothing made of it.
            return {"kind": "categorical"}
        case _:
            return field.model_dump(exclude=set(BaseField.model_fields) | {"kind"})


def _fitted(known: FieldStatistics) -> dict[str, Any]:
    """Return the plan's entries of a field that training rows decide."""
    field = known.field
    if isinstance(field, NumericField):
        assert known.numbers is not None
        assert known.moments is not None
        return fit_numeric(field, known.numbers, known.moments)
    if isinstance(field, TimestampField | HistoryField):
        assert known.moments is not None
        return {"offset": known.moments.mean, "scale": _inverse(known.moments.deviation)}
    if isinstance(known.tokens, TokenCounts) and isinstance(field, CategoricalField):
        return _vocabulary(field, known.tokens)
    return {}


def fit_numeric(field: NumericField, numbers: ValueCounts, moments: Moments) -> dict[str, Any]:
    """Return clip, offset, scale, knots and references of a numeric field: out = (y - offset) * scale."""
    clip = field.clip or [None, None]
    if not len(numbers.values):
        return {"clip": clip, **({"knots": [0.0], "references": [0.0]} if field.scale == "quantile" else {})}
    if field.clip_quantiles is not None:
        clip = numbers.quantiles(np.array(field.clip_quantiles)).tolist()
        field = field.model_copy(update={"clip": clip, "clip_quantiles": None})
        moments = Moments.of(compress(field, numbers.values), numbers.counts)
    offset, scale = 0.0, 1.0
    knots: dict[str, Any] = {}
    y = ValueCounts(compress(field, numbers.values), numbers.counts)
    if field.scale == "standard":
        offset, scale = moments.mean, _inverse(moments.deviation)
    elif field.scale == "minmax":
        offset, scale = moments.least, _inverse(moments.greatest - moments.least)
    elif field.scale == "robust":
        low, offset, high = y.quantiles(np.array([0.25, 0.5, 0.75])).tolist()
        scale = _inverse(high - low)
    elif field.scale == "quantile":
        n_knots = max(1, min(field.n_knots, y.n))
        references = np.linspace(0.0, 1.0, n_knots)
        knots = {
            "knots": np.maximum.accumulate(y.quantiles(references)).tolist(),
            "references": references.tolist(),
        }
    return {"clip": clip, "offset": offset, "scale": scale, **knots}


def _vocabulary(field: CategoricalField, tokens: TokenCounts) -> dict[str, Any]:
    # A value that is called like the column of unknown values counts as unknown, so that no two columns share a name.
    top = [token for token in tokens.top(field.category_limit, field.min_count) if token != UNKNOWN_CATEGORY.encode()]
    known = sorted(top)
    values = {"values": [token.decode() for token in known]}
    if field.encoding == "onehot":
        return values
    return {**values, "frequencies": [tokens.counts[token] / tokens.n for token in known]}


def _columns(field: AnyField, entry: dict[str, Any]) -> list[str]:
    """Return the names of a fitted field's columns."""
    name = field.name
    match field:
        case CategoricalField(encoding="onehot"):
            return [f"{name}={value}" for value in (*entry["values"], UNKNOWN_CATEGORY)]
        case CategoricalField(encoding="hash"):
            return _numbered(name, field.n_buckets)
        case CategoricalField():
            return [f"{name}:frequency"]
        case IPField():
            flags = ("v6", "private", "loopback", "multicast", "link_local", "reserved", "global")
            return [*_parts(name, flags), *(f"{name}:bit{bit}" for bit in range(field.prefix_bits))]
        case PortField():
            return [*_parts(name, ("well_known", "registered", "ephemeral")), *_numbered(name, field.n_buckets)]
        case TimestampField():
            circles = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
            return _parts(name, (*circles, "inter_arrival") if field.inter_arrival else circles)
        case TextField():
            shares = ("length", "entropy", "digit", "upper", "symbol", "non_ascii")
            return [*_parts(name, shares), *_numbered(name, field.n_buckets)]
        case NumericField() | BooleanField() | HistoryField():
            return [name]
        case EntityField():
            return []
    raise AssertionError(f"no columns for {field!r}")


def _parts(name: str, parts: Sequence[str]) -> list[str]:
    return [f"{name}:{part}" for part in parts]


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}#{number}" for number in range(count)]


def _inverse(spread: float) -> float:
    """Return what makes `spread` 1; 1.0 where there is none, or so little that its inverse overflows."""
    return 1.0 / spread if spread > 1e-300 else 1.0


def _refuse_repeats(names: list[str], sources: list[str]) -> None:
    seen: dict[str, str] = {}
    for name, source in zip(names, sources, strict=True):
        if name in seen:
            raise ConfigError(
                f"fields '{seen[name]}' and '{source}' both make a column '{name}'; give one another 'name'"
            )
        seen[name] = source
