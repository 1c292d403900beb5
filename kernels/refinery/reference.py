"""The plain Python and float64 truth of the refinery's ops: slow, and written for reading.

Same names, arguments and results as the functions of `jenga.kernels.refinery`, but NumPy arrays come back, and bytes
are taken wherever those take a uint8 tensor. A row is parsed strictly whatever the plan's `validate` says: "fast"
promises the same for valid rows only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .reference_encode import (
    MISSING,
    NUMBER_KINDS,
    TEXT_KINDS,
    Reading,
    State,
    address_of,
    columns,
    number_state,
    read_set,
    read_value,
    width,
)
from .reference_hash import hash64, murmur3_32
from .reference_pace import Paces
from .reference_parse import WHITESPACE, Code, Members, RowError, Value, escaped, parse_row
from .reference_split import SplitResult, bytes_of, split_rows

__all__ = [
    "Code", "EncodeResult", "ExtractResult", "RefineResult", "SplitResult", "State",
    "encode", "extract", "hash64", "locate", "murmur3_32", "refine", "split_rows",
]  # fmt: skip

N_COUNTERS = 8
_COERCED, _DUPLICATE = 6, 7
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class RefineResult(NamedTuple):
    features: NDArray[np.float32]
    states: NDArray[np.uint8]
    counters: NDArray[np.int64]
    quarantine: NDArray[np.int64]
    last: NDArray[np.float64]


class ExtractResult(NamedTuple):
    numbers: NDArray[np.float64]
    text: NDArray[np.uint8]
    text_offsets: NDArray[np.int64]
    states: NDArray[np.uint8]
    counters: NDArray[np.int64]
    quarantine: NDArray[np.int64]


class EncodeResult(NamedTuple):
    features: NDArray[np.float32]
    states: NDArray[np.uint8]
    counters: NDArray[np.int64]
    last: NDArray[np.float64]


# ----------------------------------------------------------------------------------------------------- rows to columns


def refine(
    data: bytes | ArrayLike, row_offsets: ArrayLike, plan: bytes | ArrayLike, *, previous: ArrayLike | None = None
) -> RefineResult:
    """Rows to features: `extract`, then `encode`, whose counters are completed with what only the rows tell."""
    raw = extract(data, row_offsets, plan)
    encoded = encode(raw.numbers, raw.text, raw.text_offsets, raw.states, plan, previous=previous)
    counters = encoded.counters.copy()
    counters[:, _COERCED:] = raw.counters[:, _COERCED:]
    return RefineResult(encoded.features, encoded.states, counters, raw.quarantine, encoded.last)


def extract(data: bytes | ArrayLike, row_offsets: ArrayLike, plan: bytes | ArrayLike) -> ExtractResult:
    """Rows to one number or text a field, before any transform."""
    content, described = bytes_of(data), _plan_of(plan)
    fields: list[dict[str, Any]] = described["fields"]
    quarantine: list[tuple[int, int, int]] = []
    kept: list[list[Reading]] = []
    counters = np.zeros((len(fields), N_COUNTERS), dtype=np.int64)
    for index, (begin, end) in enumerate(np.asarray(row_offsets, dtype=np.int64).reshape(-1, 2).tolist()):
        try:
            readings, repeats = _read_row(content[begin:end], described)
        except RowError as error:
            quarantine.append((index, error.code, begin + error.position))
            continue
        kept.append(readings)
        counters[:, _DUPLICATE] += np.array(repeats, dtype=np.int64)
        counters[:, _COERCED] += np.array([reading.coerced for reading in readings], dtype=np.int64)
    states = np.array([[each.state for each in row] for row in kept], dtype=np.uint8).reshape(len(kept), len(fields))
    _count_states(states, counters)
    is_number = [field["kind"] in NUMBER_KINDS for field in fields]
    numbers = [[each.number for each, yes in zip(row, is_number, strict=True) if yes] for row in kept]
    texts = [each.text for row in kept for each, yes in zip(row, is_number, strict=True) if not yes]
    return ExtractResult(
        np.array(numbers, dtype=np.float64).reshape(len(kept), sum(is_number)),
        np.frombuffer(b"".join(texts), dtype=np.uint8),
        np.cumsum([0, *map(len, texts)], dtype=np.int64),
        states,
        counters,
        np.array(quarantine, dtype=np.int64).reshape(-1, 3),
    )


def _read_row(row: bytes, plan: dict[str, Any]) -> tuple[list[Reading], list[int]]:
    fields = plan["fields"]
    paths = [[field["path"], *field.get("alternatives", ())] for field in fields]
    every_path = [path for alternatives in paths for path in alternatives]
    found = parse_row(row, every_path, nan=plan["nan"], duplicates=plan["duplicates"])
    values, repeated = iter(found.values), iter(found.repeats)
    missing = plan.get("missing", ())
    readings = [
        _first(field, [next(values) for _ in alternatives], missing)
        for field, alternatives in zip(fields, paths, strict=True)
    ]
    repeats = [sum(next(repeated) for _ in alternatives) for alternatives in paths]
    for field, reading in zip(fields, readings, strict=True):
        if field["required"] and reading.state in (State.ABSENT, State.NULL):
            begin = len(row) - len(row.lstrip(WHITESPACE))
            raise RowError(Code.MISSING_FIELD, begin, "/" + escaped(field["path"]))
    return readings, repeats


def _first(field: dict[str, Any], values: list[Value | Members | None], missing: Sequence[str]) -> Reading:
    """Return what the first of a field's paths that has a value holds; without one, the first that is there."""
    readings = [
        read_set(field, list(value.values()), missing) if isinstance(value, dict) else read_value(field, value, missing)
        for value in values
    ]
    present = [each for each in readings if each.state == State.PRESENT]
    there = [each for each in readings if each.state != State.ABSENT]
    return (present or there or readings)[0]


def encode(
    numbers: ArrayLike,
    text: bytes | ArrayLike,
    text_offsets: ArrayLike,
    states: ArrayLike,
    plan: bytes | ArrayLike,
    *,
    previous: ArrayLike | None = None,
) -> EncodeResult:
    """Numbers and texts to features. A value that its field can't take is missing, whatever its state said."""
    described = _plan_of(plan)
    fields: list[dict[str, Any]] = described["fields"]
    paces = Paces(described, previous)
    final = np.array(states, dtype=np.uint8)
    features = np.zeros((len(final), described["n_features"]))
    for row, readings in enumerate(_readings_of(numbers, bytes_of(text), text_offsets, final, fields)):
        checked = [_checked(field, given) for field, given in zip(fields, readings, strict=True)]
        before = paces.before(checked)
        for place, (field, reading) in enumerate(zip(fields, checked, strict=True)):
            final[row, place] = _encode_field(field, reading, before.get(place, math.nan), features[row])
    counters = np.zeros((len(fields), N_COUNTERS), dtype=np.int64)
    _count_states(final, counters)
    saturated = np.clip(features, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
    return EncodeResult(saturated, final, counters, paces.last())


def _encode_field(field: dict[str, Any], reading: Reading, previous: float, features: NDArray[np.float64]) -> State:
    """Write a field's columns of one row and return the field's state."""
    is_missing = reading.state in MISSING
    if field["indicator"] >= 0:
        features[field["indicator"]] = float(is_missing)
    if is_missing or field["kind"] == "raw":
        return reading.state
    if field["column"] < 0:
        return reading.state
    state, values = columns(field, reading, previous)
    features[field["column"] : field["column"] + width(field)] = values
    return state


def _readings_of(
    numbers: ArrayLike, text: bytes, text_offsets: ArrayLike, states: NDArray[np.uint8], fields: list[dict[str, Any]]
) -> Iterator[list[Reading]]:
    n_numbers = sum(field["kind"] in NUMBER_KINDS for field in fields)
    number_rows = np.asarray(numbers, dtype=np.float64).reshape(len(states), n_numbers).tolist()
    offsets: list[int] = np.asarray(text_offsets, dtype=np.int64).tolist()
    slot = 0
    for row_numbers, row_states in zip(number_rows, states.tolist(), strict=True):
        rest = iter(row_numbers)
        readings = []
        for field, state in zip(fields, row_states, strict=True):
            if field["kind"] in TEXT_KINDS:
                readings.append(Reading(State(state), text=text[offsets[slot] : offsets[slot + 1]]))
                slot += 1
            else:
                readings.append(Reading(State(state), number=next(rest)))
        yield readings


def _checked(field: dict[str, Any], reading: Reading) -> Reading:
    """Return the reading, as missing where it claims a value that its field can't take."""
    if reading.state in MISSING:
        return reading
    state = State.PRESENT
    if field["kind"] in NUMBER_KINDS:
        state = State.NULL if math.isnan(reading.number) else number_state(field["kind"], reading.number)
    elif field["kind"] == "ip" and address_of(reading.text) is None:
        state = State.MISMATCH
    return reading._replace(state=state)


def _count_states(states: NDArray[np.uint8], counters: NDArray[np.int64]) -> None:
    for state in State:
        counters[:, state] = (states == state).sum(axis=0)


def locate(row: bytes, plan: bytes | ArrayLike) -> tuple[int, int, str]:
    """Return code, byte position and JSON pointer of what is wrong with a row; (0, -1, "") where nothing is."""
    try:
        _read_row(row, _plan_of(plan))
    except RowError as error:
        return int(error.code), error.position, error.pointer
    return 0, -1, ""


def _plan_of(plan: bytes | ArrayLike) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(bytes_of(plan))
    return described
