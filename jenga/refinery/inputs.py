"""What the estimator is given, made ready: checked arrays, settled schemas, sources that can be read twice."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jenga.refinery.calls import level_of_caller
from jenga.refinery.chunks import Chunk, TableChunk, python_values
from jenga.refinery.fields import BooleanField, NumericField
from jenga.refinery.schema import RefinerySchema, read_schema
from jenga.refinery.sources import chunks_of
from jenga.refinery.statistics import PRESENT, RawBlock
from jenga.refinery.streams import STDIN

if TYPE_CHECKING:
    from jenga.refinery.engine import Engine


def chunks_for(estimator: Any, source: Any, *, reset: bool | None = None) -> Iterator[Chunk]:
    """Return the rows of `source` in chunks.

    `reset`: True and False as in scikit-learn's `validate_data`, True where a first `fit` learns the columns of X.
    Raises ValueError for an array that does not fit, and what `chunks_of` raises.
    """
    if reset:
        set_known_columns(estimator, None, None)
    names = None
    if _is_array(source):
        from sklearn.utils.validation import validate_data

        source = validate_data(estimator, source, reset=bool(reset), dtype=None, ensure_all_finite=False)
        names = getattr(estimator, "feature_names_in_", None)
    elif reset and hasattr(source, "iloc") and source.ndim == 2:
        set_known_columns(estimator, source.shape[1], list(source.columns))
    return chunks_of(
        source, chunk_bytes=estimator.chunk_bytes, names=names, records=estimator.records, n_threads=estimator.n_threads
    )


def _is_array(source: Any) -> bool:
    """Whether scikit-learn's own checks apply: arrays, sparse ones too, and lists of lists, but no array of rows."""
    if isinstance(source, (list, tuple)):
        return bool(source) and not isinstance(source[0], (bytes, str, Mapping)) and not hasattr(source[0], "num_rows")
    if hasattr(source, "toarray"):
        return True
    is_frame = hasattr(source, "iloc") or hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__")
    holds_rows = getattr(source, "ndim", 2) == 1 and source.dtype == object
    return hasattr(source, "__array__") and not is_frame and not holds_rows


def known_columns(estimator: Any) -> dict[str, Any]:
    """Return what is known of the columns of a table that the estimator was fitted on, as plain data."""
    names = getattr(estimator, "feature_names_in_", None)
    return {
        "n_features_in": getattr(estimator, "n_features_in_", None),
        "feature_names_in": None if names is None else list(names),
    }


def set_known_columns(estimator: Any, width: int | None, names: Sequence[Any] | None) -> None:
    """Set or remove ``n_features_in_`` and ``feature_names_in_``, which only tables have."""
    named = None if names is None or not all(isinstance(name, str) for name in names) else names
    values = {"n_features_in_": width, "feature_names_in_": None if named is None else np.array(named, dtype=object)}
    for attribute, value in values.items():
        if value is not None:
            setattr(estimator, attribute, value)
        elif hasattr(estimator, attribute):
            delattr(estimator, attribute)


def check_names(estimator: Any, names: Any) -> None:
    """Raise ValueError where `names` are given and are not those of the columns that the estimator was fitted on."""
    if names is None:
        return
    known = getattr(estimator, "feature_names_in_", None)
    if known is not None and list(names) != list(known):
        raise ValueError("input_features is not equal to feature_names_in_")
    width = getattr(estimator, "n_features_in_", None)
    if width is not None and len(names) != width:
        raise ValueError(f"input_features should have length equal to number of features ({width}), got {len(names)}")


def replayable(source: Any) -> Any:
    """Return `source`, held in memory where it could be read only once."""
    if isinstance(source, (str, os.PathLike)):
        return sys.stdin.buffer.read() if os.fspath(source) == STDIN else source
    if hasattr(source, "read_all") and hasattr(source, "schema"):
        return source.read_all()
    return list(source) if hasattr(source, "__next__") else source


def is_replayable(source: Any) -> bool:
    """Whether `source` can be read twice."""
    if isinstance(source, (str, os.PathLike)):
        return Path(source).is_file()
    return not hasattr(source, "__next__") and not hasattr(source, "read_all")


def settled_schema(
    preset: str | None,
    schema: Any,
    source: Any,
    chunks: Iterator[Chunk],
    sample_rows: int,
    again: Callable[[], Iterator[Chunk]],
) -> tuple[RefinerySchema, Iterator[Chunk]]:
    """Return the schema that is asked for or, with neither, inferred from a sample; and all of `chunks` again.

    The sample is spread over all rows, by reading `again`, and is of the first ones where `source` can be read only
    once. Every column of an array of numbers is a numeric (or boolean) field.
    """
    if preset is not None:
        from jenga.refinery.presets import load_preset

        return load_preset(preset), chunks
    if schema is not None:
        return read_schema(schema), chunks
    from jenga.refinery.engine import first_rows, spread_rows
    from jenga.refinery.infer import infer_schema

    head = next(chunks, None)
    if head is None:
        return infer_schema([]), chunks
    chunks = _behind(head, chunks)
    dtype = getattr(source, "dtype", None)
    if isinstance(head, TableChunk) and isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        kind = BooleanField if dtype.kind == "b" else NumericField
        return RefinerySchema(fields=[kind(path=name) for name in head.columns]), chunks
    if is_replayable(source):
        rows = spread_rows(chunks, sample_rows)
        chunks = again()
    else:
        rows, chunks = first_rows(chunks, sample_rows)
        if len(rows) == sample_rows:
            warnings.warn(
                f"the schema is inferred from the first {sample_rows:,} rows, since these can be read only once; what "
                "fields come later is not read. Give a file, or a schema",
                stacklevel=level_of_caller(),
            )
    if not rows:
        _refuse(chunks)
    return infer_schema(rows), chunks


def _refuse(chunks: Iterator[Chunk]) -> None:
    """Raise DataError, which says what is wrong with the rows of `chunks`, none of which is an object."""
    from jenga.refinery.calls import Call
    from jenga.refinery.engine import Engine
    from jenga.refinery.plan import extraction_plan

    plan = extraction_plan(["x"])
    call = Call(("x",), 1.0, 0)
    for _ in call.parts(Engine(plan, n_threads=None, redact=True), chunks):
        continue
    call.end(fitted=True, warn=False)


def _behind(head: Chunk, rest: Iterator[Chunk]) -> Iterator[Chunk]:
    yield head
    yield from rest


# ------------------------------------------------------------------------------------------------------- Python values


def python_columns(
    chunk: Chunk, keep: NDArray[np.bool_], engine: Engine, wanted: NDArray[np.bool_] | None = None
) -> dict[str, list[Any]]:
    """Return the values at the paths of `engine`, which extracts raw JSON, in the rows to `keep`.

    `wanted` ``(rows kept, paths)``: the values that are read; others are None.
    """
    if isinstance(chunk, TableChunk):
        return {path: _table_values(chunk, path, keep) for path in engine.paths}
    rows = dataclasses.replace(chunk, row_offsets=chunk.row_offsets[keep], numbers=chunk.numbers[keep], refused=[])
    block = engine.raw(rows).block
    present = block.states == PRESENT
    if wanted is not None:
        present &= wanted
    return {path: _parsed(block, at, present[:, at]) for at, path in enumerate(engine.paths)}


def _parsed(block: RawBlock, slot: int, present: NDArray[np.bool_]) -> list[Any]:
    values: list[Any] = [None] * len(present)
    # Events repeat their values, and what was parsed may be shared where nobody can change it.
    known: dict[bytes, Any] = {}
    for row, text in zip(np.flatnonzero(present).tolist(), block.texts(slot, present).to_pylist(), strict=True):
        if text in known:
            values[row] = known[text]
            continue
        values[row] = value = json.loads(text.decode())
        if not isinstance(value, (list, dict)):
            known[text] = value
    return values


def _table_values(chunk: TableChunk, path: str, keep: NDArray[np.bool_]) -> list[Any]:
    from jenga.refinery.cells import find_column

    column = find_column(chunk.columns, path)
    values = [None] * len(keep) if column is None else python_values(column)
    return [value for value, kept in zip(values, keep.tolist(), strict=True) if kept]
