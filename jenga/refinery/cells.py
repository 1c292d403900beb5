"""Columns of a table as the raw values of a plan's fields, by the rules that hold for JSON.

Numbers, booleans, moments and texts that are numbers are converted whole columns at a time. What is left (dates as
text, addresses, words for true and false, mixed types) goes through the native `extract`, each different value once.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jenga.errors import DataError
from jenga.refinery.chunks import TableChunk, python_values
from jenga.refinery.paths import EVERY, Part, is_set, parts_of, values_in
from jenga.refinery.quarantine import QuarantineRecord, table_records
from jenga.refinery.result import COUNTS
from jenga.refinery.statistics import ABSENT, MISMATCH, N_STATES, NULL, NUMBER_KINDS, OVERFLOW, PRESENT, RawBlock

_COERCED = COUNTS.index("coerced")
_NUMBER = r"^[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_BLANKS = " \t\r\n\v\f"
_AUTO_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6))
_FIRST_SECOND, _END_OF_TIME = -62_135_596_800.0, 253_402_300_800.0
"""The years 1 to 9999, in seconds since 1970."""
_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}

States = NDArray[np.uint8]


@dataclass(frozen=True)
class Cells:
    """One field in every row: its `values` (float64, or a pyarrow BinaryArray without nulls), states and coercions."""

    values: Any
    states: States
    coerced: NDArray[np.bool_]


def raw_of_table(
    chunk: TableChunk, plan: dict[str, Any], *, redact: bool
) -> tuple[RawBlock, NDArray[np.int64], NDArray[np.int64], list[QuarantineRecord]]:
    """Return the raw values of a chunk's rows for the fields of `plan`.

    Also int64 ``(n_fields, 8)`` counts as in `Counters`, int64 ``(M,)`` numbers of the rows kept, and the records of
    the others, which lack a required field.
    """
    fields = plan["fields"]
    cells = [_cells(chunk, field, plan) for field in fields]
    keep, missing = _required(cells, fields, len(chunk.numbers))
    counts = np.zeros((len(fields), len(COUNTS)), np.int64)
    for at, each in enumerate(cells):
        counts[at, :N_STATES] = np.bincount(each.states[keep], minlength=N_STATES)
        counts[at, _COERCED] = each.coerced[keep].sum()
    block = _block(cells, [field["kind"] in NUMBER_KINDS for field in fields], keep)
    return block, counts, chunk.numbers[keep], table_records(chunk, missing, redact=redact)


def _required(
    cells: list[Cells], fields: list[dict[str, Any]], n_rows: int
) -> tuple[NDArray[np.bool_], list[tuple[int, str]]]:
    """Return which rows have every required field, and (row, path of the first that it lacks) of the others."""
    keep = np.ones(n_rows, np.bool_)
    missing = []
    for each, field in zip(cells, fields, strict=True):
        if field["required"]:
            lacks = keep & (each.states != PRESENT)
            missing += [(row, field["path"]) for row in np.flatnonzero(lacks).tolist()]
            keep &= ~lacks
    return keep, missing


def _block(cells: list[Cells], is_number: list[bool], keep: NDArray[np.bool_]) -> RawBlock:
    n_rows = int(keep.sum())
    states = np.stack([each.states for each in cells], axis=1)[keep]
    numbers = [each.values[keep] for each, yes in zip(cells, is_number, strict=True) if yes]
    texts = [each.values.filter(pa.array(keep)) for each, yes in zip(cells, is_number, strict=True) if not yes]
    block = np.stack(numbers, axis=1) if numbers else np.empty((n_rows, 0))
    if not texts:
        return RawBlock(block, np.empty(0, np.uint8), np.zeros(1, np.int64), states)
    lengths = np.stack([pc.binary_length(text).to_numpy(zero_copy_only=False) for text in texts], axis=1)
    joined = pc.binary_join_element_wise(*texts, pa.scalar(b"", pa.large_binary())) if len(texts) > 1 else texts[0]
    # A row's texts, joined, lie behind one another in the buffer: that is the row-major text.
    content = b"".join(joined.to_pylist())
    offsets = np.concatenate([[0], np.cumsum(lengths.ravel(), dtype=np.int64)])
    return RawBlock(block, np.frombuffer(bytearray(content), np.uint8), offsets, states)


def _cells(chunk: TableChunk, field: dict[str, Any], plan: dict[str, Any]) -> Cells:
    paths = [field["path"], *field.get("alternatives", ())]
    return _first_of([_written_at(chunk, {**field, "path": path, "alternatives": []}, plan) for path in paths])


def _written_at(chunk: TableChunk, field: dict[str, Any], plan: dict[str, Any]) -> Cells:
    try:
        return _cells_at(chunk, field, plan)
    except UnwrittenError as error:
        fix = "write it as text or numbers, or leave the column out"
        where = f"{chunk.file or 'the table'}: column '{field['path']}'"
        raise DataError(f"{where} {error}, which is no cell of events; {fix}") from error


def _first_of(cells: list[Cells]) -> Cells:
    """Return in each row the first of `cells` that has a value, else the first that is there."""
    if len(cells) == 1:
        return cells[0]
    states = np.stack([each.states for each in cells])
    best = np.where(states == PRESENT, 0, np.where(states == ABSENT, 2, 1)).argmin(axis=0)
    rows = np.arange(states.shape[1])
    if isinstance(cells[0].values, np.ndarray):
        values: Any = np.stack([each.values for each in cells])[best, rows]
    else:
        values = pa.concat_arrays([each.values for each in cells]).take(pa.array(best * len(rows) + rows))
    return Cells(values, states[best, rows], np.stack([each.coerced for each in cells])[best, rows])


def _cells_at(chunk: TableChunk, field: dict[str, Any], plan: dict[str, Any]) -> Cells:
    n_rows = len(chunk.numbers)
    column = find_column(chunk.columns, field["path"])
    is_number = field["kind"] in NUMBER_KINDS
    if column is None:
        column, absent = pa.nulls(n_rows), True
    else:
        absent = False
    if isinstance(column, list):
        return _extracted(column, field, plan)
    if column is not None and is_set(field["path"]):
        return _extracted(python_values(column), field, plan)
    column = _plain(column, field["path"], chunk.file)
    cells = _numbers(column, field, plan) if is_number else _texts(column, field, plan)
    if absent:
        cells.states[:] = ABSENT
    if not chunk.typed:
        # A file without types cannot but give numbers as text.
        cells.coerced[:] = False
    return cells


def _plain(column: Any, path: str, file: str) -> Any:
    """Return a column without dictionary or extension type, bytes and spans of time as text."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_duration(column.type) or pa.types.is_time(column.type):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.large_string())
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    if any(is_bytes(column.type) for is_bytes in kinds):
        try:
            return pc.cast(column, pa.large_string())
        except pa.ArrowInvalid:
            raise DataError(f"{file or 'the table'}: column '{path}' holds bytes that are not UTF-8") from None
    return column


def find_column(columns: Any, path: str) -> Any:
    """Return the column that a path names, as a whole, by structs or by elements of lists, or None.

    Of a path with ``[*]`` the cells are lists of values.
    """
    if path in columns:
        return columns[path]
    keys, *rest = parts_of(path)
    if not rest:
        return _find_keys(columns, str(keys))
    outer = _find_keys(columns, str(keys))
    return None if outer is None else [_inside(value, rest) for value in python_values(outer)]


def _inside(value: Any, parts: list[Part]) -> Any:
    """Return what `parts` lead to within a cell, None for nothing."""
    found = values_in(value, parts)
    if EVERY not in parts:
        return found[0] if found else None
    # A list without the value is a set of none; where there is no list, there is no set.
    outer = values_in(value, parts[: parts.index(EVERY)])
    return found if found or any(isinstance(each, (list, dict)) for each in outer) else None


def _find_keys(columns: Any, path: str) -> Any:
    if path in columns:
        return columns[path]
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        outer, inner = columns.get(".".join(parts[:count])), ".".join(parts[count:])
        if isinstance(outer, pa.StructArray):
            names = [outer.type.field(at).name for at in range(outer.type.num_fields)]
            found = _find_keys({name: pc.struct_field(outer, [name]) for name in names}, inner)
            if found is not None:
                return found
        elif isinstance(outer, list):
            return [value.get(inner) if isinstance(value, dict) else None for value in outer]
    return None


# ------------------------------------------------------------------------------------------------------------- numbers


def _numbers(column: Any, field: dict[str, Any], plan: dict[str, Any]) -> Cells:
    kind, types = field["kind"], pa.types
    null = column.is_null().to_numpy(zero_copy_only=False)
    none = np.zeros(len(column), np.bool_)
    if types.is_boolean(column.type):
        values = pc.cast(column, pa.uint8()).fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        states = np.where(null, NULL, PRESENT if kind in ("numeric", "boolean") else MISMATCH).astype(np.uint8)
        return _settled(values, states, ~null if kind == "numeric" else none)
    if _is_number(column.type) or types.is_null(column.type):
        values = _doubles(column)
        return _judged(values, null | np.isnan(values), field, none)
    if types.is_timestamp(column.type) or types.is_date(column.type):
        if kind != "timestamp":
            return _settled(np.zeros(len(column)), np.where(null, NULL, MISMATCH).astype(np.uint8), none)
        micros = pc.cast(column, pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False)
        values = _doubles(pc.cast(micros, pa.int64())) / 1e6
        return _settled(values, np.where(null, NULL, PRESENT).astype(np.uint8), none)
    if _is_text(column.type):
        return _numbers_of_text(column, field, plan)
    return _extracted(column.to_pylist(), field, plan)


def _is_number(type_: Any) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def _is_text(type_: Any) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _numbers_of_text(column: Any, field: dict[str, Any], plan: dict[str, Any]) -> Cells:
    column = pc.cast(column, pa.large_string())
    trimmed = pc.ascii_trim(column, _BLANKS)
    # As JSON, a text that stands for nothing does so even where it is a number.
    nothing = pc.is_in(trimmed, pa.array(plan.get("missing", []), pa.large_string()))
    column = pc.if_else(nothing, None, column)
    trimmed = pc.if_else(nothing, None, trimmed)
    is_number = pc.match_substring_regex(trimmed, _NUMBER).fill_null(False)
    if field["kind"] == "boolean":
        # As text, only the words of `extract` are booleans, "0" and "1" among them.
        is_number = pa.array(np.zeros(len(column), np.bool_))
    digits = pc.ascii_ltrim(pc.if_else(is_number, trimmed, None), "+")
    values = _doubles(pc.cast(digits, pa.float64()))
    found = is_number.to_numpy(zero_copy_only=False)
    cells = _judged(values, ~found, field, found)
    rest = np.flatnonzero(~found)
    if len(rest):
        other = _extracted_once(column.take(pa.array(rest)), field, plan)
        cells.values[rest], cells.states[rest], cells.coerced[rest] = other.values, other.states, other.coerced
    return cells


def _doubles(column: Any) -> NDArray[np.float64]:
    """Return a numeric column as float64 of its own, NaN where null."""
    return np.array(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def _judged(values: NDArray[np.float64], null: NDArray[np.bool_], field: dict[str, Any], coerced: Any) -> Cells:
    """Return numbers with the state that a field of the kind gives each."""
    kind = field["kind"]
    with np.errstate(invalid="ignore"):
        if kind == "timestamp":
            values = values / _per_second(field["unit"], values)
        states = np.where(np.isinf(values), OVERFLOW, PRESENT)
        if kind == "timestamp":
            in_calendar = (values >= _FIRST_SECOND) & (values < _END_OF_TIME)
            states = np.where(in_calendar | np.isinf(values), states, MISMATCH)
        if kind == "boolean":
            states = np.where((values == 0.0) | (values == 1.0), PRESENT, MISMATCH)
        elif kind == "port":
            states = np.where((values == np.floor(values)) & (values >= 0) & (values <= 65535), PRESENT, MISMATCH)
    return _settled(values, np.where(null, NULL, states).astype(np.uint8), coerced)


def _per_second(unit: str, values: NDArray[np.float64]) -> Any:
    if unit != "auto":
        return _UNITS[unit]
    size = np.abs(values)
    return np.select([size < below for below, _ in _AUTO_UNITS], [scale for _, scale in _AUTO_UNITS], 1e9)


def _settled(values: NDArray[np.float64], states: States, coerced: NDArray[np.bool_]) -> Cells:
    missing = states != PRESENT
    return Cells(np.where(missing, np.nan, values), states, coerced & ~missing)


# --------------------------------------------------------------------------------------------------------------- texts


def _texts(column: Any, field: dict[str, Any], plan: dict[str, Any]) -> Cells:
    types = pa.types
    if field["kind"] == "ip" and _is_text(column.type):
        return _extracted_once(column, field, plan)
    plain = _is_text(column.type) or _is_number(column.type) or types.is_boolean(column.type)
    if field["kind"] == "ip" or not (plain or types.is_null(column.type)):
        return _extracted(column.to_pylist(), field, plan)
    if types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    cells = pc.cast(pc.cast(column, pa.large_string()), pa.large_binary())
    null = cells.is_null().to_numpy(zero_copy_only=False)
    states = np.where(null, NULL, PRESENT).astype(np.uint8)
    return Cells(cells.fill_null(b""), states, np.zeros(len(column), np.bool_))


# -------------------------------------------------------------------------------------------------------------- others


def _extracted_once(column: Any, field: dict[str, Any], plan: dict[str, Any]) -> Cells:
    """Extract each different text of a column once."""
    coded = column.dictionary_encode()
    index = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    cells = _extracted([*coded.dictionary.to_pylist(), None], field, plan)
    return Cells(cells.values.take(index), cells.states[index], cells.coerced[index])


class UnwrittenError(Exception):
    """A cell holds what no JSON can, such as a list of bytes."""


def _extracted(values: list[Any], field: dict[str, Any], plan: dict[str, Any]) -> Cells:
    """Return what `extract` makes of Python values, written as rows of one field."""
    import torch

    from jenga.kernels.refinery import extract, pack_rows

    path = "x[*]" if is_set(field["path"]) else "x"
    alone = {**field, "path": path, "alternatives": [], "column": -1, "indicator": -1, "required": False}
    small = {**plan, "n_features": 0, "nan": "missing", "fields": [alone]}
    encoded = torch.frombuffer(bytearray(json.dumps(small).encode()), dtype=torch.uint8)
    try:
        rows = pack_rows([{"x": value} for value in values])
    except TypeError as error:
        # Without the place among different values, and what else Python might have given.
        raise UnwrittenError(str(error).partition(": ")[2].partition(";")[0]) from None
    found = extract(*rows, encoded)
    assert not len(found.quarantine), "rows that were just written must be whole"
    states = found.states.numpy()[:, 0]
    if field["kind"] in NUMBER_KINDS:
        coerced = np.array([_is_coercion(value, field["kind"]) for value in values], np.bool_)
        return Cells(found.numbers.numpy()[:, 0], states, coerced & (states == PRESENT))
    offsets, text = pa.py_buffer(found.text_offsets.numpy()), pa.py_buffer(found.text.numpy())
    texts = pa.Array.from_buffers(pa.large_binary(), len(values), [None, offsets, text])
    return Cells(texts, states, np.zeros(len(values), np.bool_))


def _is_coercion(value: Any, kind: str) -> bool:
    """Whether a value that a field of the kind took is of another type; a date is no coercion of a timestamp."""
    if isinstance(value, str):
        return kind != "timestamp" or re.fullmatch(_NUMBER, value.strip(_BLANKS)) is not None
    return isinstance(value, bool) and kind == "numeric"
