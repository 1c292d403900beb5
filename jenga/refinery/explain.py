"""Why a row stands out, in the terms of its fields; and which values share a bucket of a hash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jenga.refinery.paths import is_set
from jenga.refinery.plan import PLAN_VERSION
from jenga.refinery.statistics import ABSENT, NUMBER_KINDS, PRESENT, RawBlock, Statistics, members_of

if TYPE_CHECKING:
    from jenga.refinery.estimator import SecurityRefinery
    from jenga.refinery.fields import AnyField
    from jenga.refinery.histories import Column

_HASHED_FROM = {"categorical": 0, "port": 3, "text": 6}
"""Kinds with hashed columns, and how many other columns stand before those."""


class Contribution(NamedTuple):
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
        return self._asdict()


def explain_rows(
    refinery: SecurityRefinery,
    X: Any,  # noqa: N803 -- scikit-learn's name
    contributions: ArrayLike,
    *,
    top: int = 5,
    digits: int | None = None,
    histories: NDArray[np.float64] | None = None,
) -> list[list[Contribution]]:
    """Return for each row that `refine` keeps of X its `top` fields by absolute contribution, the largest first.

    `contributions` ``(M, F)``: what each column adds to the row's score; the columns of a field are added up. `digits`:
    behind the point, that the figures are rounded to. `histories`: as `refine` gave them of these rows; without them X
    is taken for the rows of a whole file. Raises ValueError where the shape is another one.
    """
    told = _told_of_rows(refinery, X, contributions, top, digits, histories)
    return [[Contribution(*each) for each in of_row] for of_row in told]


def explain_as_dicts(
    refinery: SecurityRefinery,
    X: Any,  # noqa: N803 -- scikit-learn's name
    contributions: ArrayLike,
    *,
    top: int = 5,
    digits: int | None = None,
    histories: NDArray[np.float64] | None = None,
) -> list[list[dict[str, Any]]]:
    """Return what `explain_rows` does, each contribution as its `to_dict` has it, without making one of them first."""
    return [
        [
            {"field": field, "contribution": part, "value": value, "quantile": quantile, "share": share}
            for field, part, value, quantile, share in of_row
        ]
        for of_row in _told_of_rows(refinery, X, contributions, top, digits, histories)
    ]


def _told_of_rows(
    refinery: SecurityRefinery,
    rows: Any,
    contributions: ArrayLike,
    top: int,
    digits: int | None,
    histories: NDArray[np.float64] | None,
) -> Iterator[Sequence[tuple[str, float, Any, float | None, float | None]]]:
    """Yield of each row the fields of a `Contribution` for each that is told."""
    from jenga.refinery.inputs import replayable

    source = replayable(rows)
    raw = refinery.raw(source)
    by_field = fold(refinery, contributions, n_rows=len(raw))
    told = np.argsort(-np.abs(by_field), axis=1, kind="stable")[:, :top]
    wanted = np.zeros(by_field.shape, np.bool_)
    np.put_along_axis(wanted, told, True, axis=1)
    block = raw.block if histories is None else _with_histories(refinery, raw.block, histories)
    places = _places(refinery.statistics_, block, wanted)
    if digits is not None:
        by_field, places = by_field.round(digits), places.round(digits)
    fields = [known.field for known in refinery.statistics_.fields]
    values = _values(refinery, source, fields, wanted, raw.row_numbers)
    for column in _history_columns(refinery):
        values[column.at] = [None if value != value else value for value in block.numbers[:, column.slot].tolist()]
    known = [
        (field.path, field.kind in ("numeric", "history"), column) for field, column in zip(fields, values, strict=True)
    ]
    parts, found = (np.take_along_axis(each, told, axis=1).tolist() for each in (by_field, places))
    for row, of_row in enumerate(zip(told.tolist(), parts, found, strict=True)):
        line = []
        for at, part, place in zip(*of_row, strict=True):
            path, is_number, column = known[at]
            where = place if place == place else None
            line.append((path, part, column[row], where, None) if is_number else (path, part, column[row], None, where))
        yield line


def _history_columns(refinery: SecurityRefinery) -> list[Column]:
    layout = refinery.compiled_.histories
    return [] if layout is None else layout.columns


def _with_histories(refinery: SecurityRefinery, block: RawBlock, histories: NDArray[np.float64]) -> RawBlock:
    """Return `block` with the values that its rows' histories had when features were made of them."""
    numbers, states = block.numbers.copy(), block.states.copy()
    for place, column in enumerate(_history_columns(refinery)):
        numbers[:, column.slot] = histories[:, place]
        states[:, column.at] = np.where(np.isnan(histories[:, place]), ABSENT, PRESENT)
    return block._replace(numbers=numbers, states=states)


def _values(
    refinery: SecurityRefinery,
    source: Any,
    fields: Sequence[AnyField],
    wanted: NDArray[np.bool_],
    numbers: NDArray[np.int64],
) -> list[list[Any]]:
    """Return the values of each of `fields`, at the first of its paths that holds one that it takes."""
    paths = [path for field in fields for path in field.all_paths]
    # Only what is told is read: an event may have hundreds of fields, and drives its score by a few.
    widths = [len(field.all_paths) for field in fields]
    columns = refinery.columns(source, paths, wanted=np.repeat(wanted, widths, axis=1), numbers=numbers)
    missing = refinery.schema_.missing
    return [
        columns[field.path]
        if len(field.all_paths) == 1
        else [_first(field, each, missing) for each in zip(*map(columns.get, field.all_paths), strict=True)]
        for field in fields
    ]


def _first(field: AnyField, values: Sequence[Any], missing: Sequence[str]) -> Any:
    takes_text = field.kind in ("categorical", "text")

    def is_value(value: Any) -> bool:
        if value is None or isinstance(value, (dict, list)):
            return value is not None and field.is_set
        return takes_text or not isinstance(value, str) or value.strip() not in ("", *missing)

    given = [value for value in values if value is not None]
    return next(filter(is_value, given), given[0] if given else None)


def _places(statistics: Statistics, block: RawBlock, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return where the `wanted` values lie among the training rows' ``(M, n_fields)``; NaN where that is not known."""
    places = np.full(wanted.shape, np.nan)
    slots = {True: 0, False: 0}
    for at, known in enumerate(statistics.fields):
        is_number = known.field.kind in NUMBER_KINDS
        slot = slots[is_number]
        slots[is_number] += 1
        rows = wanted[:, at] & (block.states[:, at] == PRESENT)
        if rows.any():
            values = block.numbers[rows, slot] if is_number else block.texts(slot, rows).to_pylist()
            places[rows, at] = known.places_of(values)
    return places


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
    if is_set(field["path"]):
        return sorted({member for value in values for member in members_of(value)})
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
    alone = {**field, "path": "x", "alternatives": [], "column": 0, "indicator": -1, "required": False}
    plan = {"version": PLAN_VERSION, "validate": "strict", "nan": "missing", "duplicates": "last",
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
