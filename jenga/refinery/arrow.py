"""What has columns, as chunks of them: CSV, TSV and Parquet files, data frames, Arrow tables and 2-D arrays."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jenga.errors import DataError
from jenga.files import what_is
from jenga.refinery.chunks import HEAD_BYTES, Refused, TableChunk
from jenga.refinery.sources import MAX_ROW_BYTES, table_suffix
from jenga.refinery.streams import codec_of, open_binary, refuse_other_kinds

BATCH_ROWS = 65_536
_HEADER_BYTES = 1 << 16


def has_columns(source: Any) -> bool:
    """Whether `source` is a table: a 2-D array, a data frame, or an Arrow table, batch or reader of batches."""
    if getattr(source, "ndim", 2) != 2:
        return False
    is_frame = hasattr(source, "__arrow_c_stream__") and (hasattr(source, "columns") or hasattr(source, "schema"))
    return is_frame or _is_batch(source) or (hasattr(source, "__array__") and hasattr(source, "ndim"))


def array_names(width: int) -> list[str]:
    """Return the names that the columns of an array without names get."""
    return [f"x{at}" for at in range(width)]


def table_chunks(source: Any, *, first: int = 1, names: Sequence[str] | None = None) -> Iterator[TableChunk]:
    """Yield a table's rows; the first has the number `first`. `names`: of an array's columns, x0, x1, ... without.

    Raises DataError where two columns have one name.
    """
    if hasattr(source, "iloc"):
        columns = _frame_columns(source)
    elif hasattr(source, "__array__") and not hasattr(source, "__arrow_c_stream__"):
        columns = _array_columns(source, names)
    else:
        for batch in _batches(source):
            yield from _slices(_named(batch.schema.names, batch.columns), batch.num_rows, first)
            first += batch.num_rows
        return
    yield from _slices(columns, len(source), first)


def file_chunks(path: str) -> Iterator[TableChunk]:
    """Yield the rows of a CSV, TSV or Parquet file. Raises DataError for a file that cannot be read."""
    if (kind := what_is(Path(path))) is not None:
        raise DataError(f"{path}: this is {kind}, and tables are read from files alone; write it to one")
    return _parquet_chunks(path) if table_suffix(path) == ".parquet" else _csv_chunks(path)


def _is_batch(source: Any) -> bool:
    return hasattr(source, "__arrow_c_array__") and hasattr(source, "num_rows")


def _batches(source: Any) -> Iterator[Any]:
    if _is_batch(source):
        return iter([source])
    if isinstance(source, pa.RecordBatchReader):
        return iter(source)
    table = source if isinstance(source, pa.Table) else pa.table(source)
    return iter(table.to_batches(max_chunksize=BATCH_ROWS))


def _slices(columns: Mapping[str, Any], n_rows: int, first: int) -> Iterator[TableChunk]:
    for begin in range(0, n_rows, BATCH_ROWS):
        end = min(begin + BATCH_ROWS, n_rows)
        part = {name: column[begin:end] for name, column in columns.items()}
        yield TableChunk(part, _counting(first + begin, end - begin), "")


def _counting(first: int, count: int) -> NDArray[np.int64]:
    return np.arange(first, first + count)


def _named(names: Sequence[str], columns: Sequence[Any]) -> dict[str, Any]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"column '{repeated[0]}' is there more than once; names of columns must differ")
    return dict(zip(names, columns, strict=True))


def _alike(names: Sequence[str], columns: Sequence[Any]) -> dict[str, Any]:
    """Return columns by name, those of one name as one where all their cells are the same, as CIC-IDS2017 has them."""
    kept = [at for at, name in enumerate(names) if names.index(name) == at or columns[at] != columns[names.index(name)]]
    return _named([names[at] for at in kept], [columns[at] for at in kept])


def _frame_columns(frame: Any) -> dict[str, Any]:
    named = _named([str(name) for name in frame.columns], [frame.iloc[:, at] for at in range(frame.shape[1])])
    return {name: _arrow_column(column) for name, column in named.items()}


def _array_columns(source: Any, names: Sequence[str] | None) -> dict[str, Any]:
    array = np.asarray(source)
    names = array_names(array.shape[1]) if names is None else list(names)
    return _named(names, [_arrow_column(array[:, at]) for at in range(array.shape[1])])


def _arrow_column(values: Any) -> Any:
    """Return a column as a pyarrow Array, or as a list of Python values where its types are mixed."""
    try:
        column = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return [None if _is_nan(value) else value for value in values.tolist()]
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _is_nan(value: Any) -> bool:
    # NaN, NaT and pandas.NA are what table libraries put where nothing is.
    return type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)


# --------------------------------------------------------------------------------------------------------------- files


def _parquet_chunks(path: str) -> Iterator[TableChunk]:
    from pyarrow import parquet

    first = 1
    with open_binary(path) as file:
        try:
            for batch in parquet.ParquetFile(file).iter_batches(batch_size=BATCH_ROWS):
                columns = _named(batch.schema.names, batch.columns)
                yield TableChunk(columns, _counting(first, batch.num_rows), path)
                first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: not a whole Parquet file ({error}); write or fetch it again") from None


def _csv_chunks(path: str) -> Iterator[TableChunk]:
    """Every cell is read as text, since a guess by its first rows would make later ones errors."""
    refused: list[Refused] = []
    lines = _row_lines(path)
    first = 1
    try:
        with open_binary(path) as file:
            refuse_other_kinds(path, _head(file))
            names = _csv_reader(path, file, [], None).schema.names
        with open_binary(path) as file:
            for batch in _csv_reader(path, file, refused, names):
                numbers, bad = _numbers_around(first, batch.num_rows, refused)
                columns = _alike([name.strip() for name in names], batch.columns)
                yield TableChunk(columns, numbers, path, typed=False, refused=_with_lines(bad, lines))
                first += batch.num_rows + len(bad)
    except UnicodeDecodeError:
        raise DataError(f"{path}: the header is not UTF-8; convert the file, as with: iconv -t utf-8") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})") from None
    if late := [each for each in refused if each.number >= first]:
        yield TableChunk({}, _counting(first, 0), path, typed=False, refused=_with_lines(late, lines))


def _with_lines(refused: Sequence[Refused], lines: Iterator[tuple[int, int]]) -> list[Refused]:
    """Return refused rows with their lines; `lines` is read no further than they are."""
    found = []
    for each in refused:
        line = next((line for number, line in lines if number == each.number), 0)
        found.append(dataclasses.replace(each, line=line))
    return found


def _row_lines(path: str) -> Iterator[tuple[int, int]]:
    """Yield the number of each row and the line that it begins in: cells may hold line breaks, and lines be blank."""
    csv.field_size_limit(MAX_ROW_BYTES)
    with open_binary(path) as file:
        reader = csv.reader(
            io.TextIOWrapper(_unpacked(file), encoding="utf-8-sig", errors="replace", newline=""),
            delimiter=_delimiter(path),
        )
        number, line = 0, 1
        for cells in reader:
            if cells:
                yield number, line
                number += 1
            line = reader.line_num + 1


def _unpacked(file: Any) -> Any:
    codec = codec_of(_head(file))
    return file if codec is None else pa.CompressedInputStream(pa.PythonFile(file, "r"), codec)


def _csv_reader(path: str, file: Any, refused: list[Refused], names: Sequence[str] | None) -> Any:
    """Return a reader of batches whose columns, called `names`, are text."""
    from pyarrow import csv as tables

    return tables.open_csv(
        _unpacked(file),
        # Without threads, the numbers of refused rows are known.
        read_options=tables.ReadOptions(block_size=MAX_ROW_BYTES, use_threads=False),
        parse_options=tables.ParseOptions(
            delimiter=_delimiter(path),
            newlines_in_values=True,
            invalid_row_handler=functools.partial(_refuse, refused),
        ),
        convert_options=tables.ConvertOptions(
            column_types=dict.fromkeys(names or [], pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _head(file: Any) -> bytes:
    return bytes(file.peek(8)[:8])


def _delimiter(path: str) -> str:
    """Return what parts the cells: of a .csv whose header has no comma, what it has, as some spreadsheets write it."""
    if table_suffix(path) == ".tsv":
        return "\t"
    with open_binary(path) as file:
        header = bytes(_unpacked(file).read(_HEADER_BYTES)).partition(b"\n")[0]
    counts = {mark: header.count(mark.encode()) for mark in ",;\t|"}
    return "," if counts[","] or not any(counts.values()) else max(counts, key=lambda mark: counts[mark])


def _refuse(refused: list[Refused], row: Any) -> str:
    # pyarrow counts the header as row 1.
    refused.append(Refused(row.number - 1, 0, row.text.encode()[:HEAD_BYTES], code="syntax"))
    return "skip"


def _numbers_around(first: int, count: int, refused: list[Refused]) -> tuple[NDArray[np.int64], list[Refused]]:
    """Return the numbers of the next `count` good rows, and the refused rows between them."""
    gone = np.array([each.number for each in refused if each.number >= first], np.int64)
    last = first + count - 1
    while (end := first + count - 1 + int((gone <= last).sum())) != last:
        last = end
    numbers = np.setdiff1d(np.arange(first, last + 1), gone)
    return numbers, [each for each in refused if first <= each.number <= last]
