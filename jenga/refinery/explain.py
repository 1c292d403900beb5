"""Why a row stands out, in the terms of its fields; and which values share a bucket of a hash."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jenga.refinery.statistics import PRESENT, RawBlock

if TYPE_CHECKING:
    from jenga.refinery.estimator import SecurityRefinery

_HASHED_FROM = {"categorical": 0, "port": 3, "text": 6}
"""Kinds with hashed columns, and how many other columns stand before those."""


@dataclass(frozen=True)
class Contribution:
    """A field's part in a row's score.

    `value`: what the row holds, None where missing. `quantile`: where a number lies among those of the training rows, 0
    to 1; `share`: how many of the training rows have the same category, port or flag. None where that is not known, or
    does not apply.
    """

    field: str
    contribution: float
    value: Any
    quantile: float | None
    share: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the contribution as JSON can hold it."""
        return asdict(self)


def explain_rows(
    refinery: SecurityRefinery,
    X: Any,  # noqa: N803 -- scikit-learn's name
    contributions: ArrayLike,
    *,
    top: int = 5,
) -> list[list[Contribution]]:
    """Return for each row that `refine` keeps of X its `top` fields by absolute contribution, the largest first.

    `contributions` ``(M, F)``: what each column adds to the row's score; the columns of a field are added up. Raises
    ValueError where the shape is another one.
    """
    from jenga.refinery.inputs import replayable

    source = replayable(X)
    raw = refinery.raw(source)
    by_field = fold(refinery, contributions, n_rows=len(raw))
    fields = refinery.statistics_.fields
    typed = [raw.values(known.field.path) for known in fields]
    shown = refinery.columns(source, [known.field.path for known in fields])
    explained = []
    for row, parts in enumerate(by_field):
        largest = np.argsort(-np.abs(parts), kind="stable")[:top].tolist()
        explained.append([_contribution(fields[at], float(parts[at]), typed[at][row], shown, row) for at in largest])
    return explained


def fold(refinery: SecurityRefinery, contributions: ArrayLike, *, n_rows: int) -> NDArray[np.float64]:
    """Return the contributions of columns ``(n_rows, F)`` added up by field, float64 ``(n_rows, n_fields)``."""
    values = np.asarray(contributions, np.float64)
    if values.shape != (n_rows, refinery.n_features_out_):
        wanted = (n_rows, refinery.n_features_out_)
        raise ValueError(f"contributions: needs the shape (rows kept, columns) {wanted}, got {values.shape}")
    paths = [field.path for field in refinery.schema_.fields]
    belongs = np.zeros((len(refinery.feature_sources_), len(paths)))
    belongs[np.arange(len(belongs)), [paths.index(source) for source in refinery.feature_sources_]] = 1.0
    return np.asarray(values @ belongs)


def _contribution(known: Any, part: float, value: Any, shown: dict[str, list[Any]], row: int) -> Contribution:
    path = known.field.path
    place = None if value is None else known.quantile_of(value)
    quantile, share = (place, None) if known.field.kind == "numeric" else (None, place)
    return Contribution(path, part, shown[path][row], quantile, share)


# ---------------------------------------------------------------------------------------------------------- collisions


@dataclass(frozen=True)
class Collisions:
    """How many different tokens share the buckets of a hashed field.

    `n_tokens` different values (of text: n-grams) fall into `n_buckets`; `n_colliding` of them share one;
    `largest`: the most tokens of one bucket, with up to five `examples`.
    """

    field: str
    n_tokens: int
    n_buckets: int
    n_colliding: int
    largest: int
    examples: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return asdict(self)


def collisions(refinery: SecurityRefinery, X: Any) -> list[Collisions]:  # noqa: N803
    """Return the collisions that the values of X have in each hashed field; the state itself keeps no such values."""
    raw = refinery.raw(X)
    reports = []
    for at, field in enumerate(json.loads(refinery.plan_)["fields"]):
        if field["kind"] in _HASHED_FROM and field.get("n_buckets", 0) and field.get("encoding", "hash") == "hash":
            tokens = _tokens(field, [value for value in raw.values(raw.paths[at]) if value is not None])
            reports.append(_collisions_of(field, tokens))
    return reports


def _tokens(field: dict[str, Any], values: Sequence[Any]) -> list[Any]:
    if field["kind"] != "text":
        return sorted(set(values))
    size = field["ngram"]
    texts = {value.lower() if field["lower"] else value for value in values}
    return sorted({text[at : at + size] for text in texts for at in range(len(text) - size + 1)})


def _collisions_of(field: dict[str, Any], tokens: list[Any]) -> Collisions:
    n_buckets = field["n_buckets"]
    buckets = _buckets_of(field, tokens) if tokens else np.empty(0, np.int64)
    sizes = np.bincount(buckets, minlength=n_buckets)
    fullest = int(sizes.argmax())
    members = [tokens[at] for at in np.flatnonzero(buckets == fullest)[:5]]
    examples = [each.decode(errors="replace") if isinstance(each, bytes) else f"{each:.0f}" for each in members]
    return Collisions(
        field["path"], len(tokens), n_buckets, int(sizes[sizes > 1].sum()), int(sizes.max()), tuple(examples)
    )


def _buckets_of(field: dict[str, Any], tokens: list[Any]) -> NDArray[np.int64]:
    """Return the bucket of each token, by encoding a row that holds nothing else."""
    import torch

    from jenga.kernels.refinery import encode

    first = _HASHED_FROM[field["kind"]]
    alone = {**field, "column": 0, "indicator": -1, "required": False}
    plan = {"version": 1, "validate": "strict", "nan": "missing", "duplicates": "last",
            "n_features": first + field["n_buckets"], "fields": [alone]}  # fmt: skip
    states = np.full((len(tokens), 1), PRESENT, np.uint8)
    if field["kind"] == "port":
        block = RawBlock(np.array(tokens)[:, None], np.empty(0, np.uint8), np.zeros(1, np.int64), states)
    else:
        offsets = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
        text = np.frombuffer(bytearray(b"".join(tokens)), np.uint8)
        block = RawBlock(np.empty((len(tokens), 0)), text, offsets, states)
    encoded = torch.frombuffer(bytearray(json.dumps(plan).encode()), dtype=torch.uint8)
    raw = [torch.from_numpy(each) for each in block]
    features = encode(raw[0], raw[1], raw[2], raw[3], encoded).features.numpy()
    return np.asarray(np.abs(features[:, first:]).argmax(axis=1))
