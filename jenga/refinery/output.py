"""Files of features that grow chunk by chunk and are whole or not there: .npy, .safetensors and .parquet."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from jenga.errors import ConfigError
from jenga.files import atomic_file, what_is

SUFFIXES = (".npy", ".safetensors", ".parquet")
_NPY_HEADER = 128
_DIGITS = 20

Write = Callable[[NDArray[np.float32], NDArray[np.int64]], None]


def check_suffix(path: Path) -> str:
    """Return the suffix of a file for features. Raises ConfigError for one that is none of `SUFFIXES`."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: unknown kind of output '{path.suffix}'. Allowed: {', '.join(SUFFIXES)}")
    return path.suffix


@contextlib.contextmanager
def feature_file(path: Path, names: Sequence[str]) -> Iterator[Write]:
    """Yield a function that adds rows to the file `path`, whose columns are called `names`.

    It takes features float32 ``(M, F)`` and the rows' own numbers int64 ``(M,)``. .npy: one array of the features.
    .safetensors: the tensors "features" and "row_numbers", the names as JSON in the metadata. .parquet: a column "row"
    (with underscores before it where a feature is called so) and one a name.
    """
    suffix = check_suffix(path)
    if suffix != ".parquet" and (kind := what_is(path)) is not None:
        raise ConfigError(
            f"{path}: this is {kind}, and {suffix} begins with the number of rows, which is known in the end; name a "
            "file, or write .parquet"
        )
    with atomic_file(path) as file:
        if suffix == ".parquet":
            with _parquet(file, names) as write:
                yield write
            return
        header = _npy_header if suffix == ".npy" else _safetensors_header
        n_rows = 0
        file.write(header(0, names))
        # They come behind all features, and their number is no more bounded than that of the rows.
        with tempfile.TemporaryFile(dir=path.parent) as numbers_file:

            def write(features: NDArray[np.float32], numbers: NDArray[np.int64]) -> None:
                nonlocal n_rows
                n_rows += len(features)
                file.write(np.ascontiguousarray(features).data)
                if suffix == ".safetensors":
                    numbers_file.write(np.ascontiguousarray(numbers, np.int64).data)

            yield write
            numbers_file.seek(0)
            shutil.copyfileobj(numbers_file, file)
        # As long as the first one, now that the number of rows is known.
        file.seek(0)
        file.write(header(n_rows, names))


def _npy_header(n_rows: int, names: Sequence[str]) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {len(names)}), }}".encode()
    return b"\x93NUMPY\x01\x00" + (_NPY_HEADER - 10).to_bytes(2, "little") + text.ljust(_NPY_HEADER - 11) + b"\n"


def _safetensors_header(n_rows: int, names: Sequence[str]) -> bytes:
    end = 4 * n_rows * len(names)
    content = {
        "__metadata__": {"feature_names": json.dumps(list(names), ensure_ascii=False)},
        "features": {"dtype": "F32", "shape": [n_rows, len(names)], "data_offsets": [0, end]},
        "row_numbers": {"dtype": "I64", "shape": [n_rows], "data_offsets": [end, end + 8 * n_rows]},
    }
    text = json.dumps(content, ensure_ascii=False).encode()
    changing = [n_rows, end, n_rows, end, end + 8 * n_rows]
    empty = len(text) - sum(len(str(each)) for each in changing)
    size = -(-(empty + len(changing) * _DIGITS) // 8) * 8
    return size.to_bytes(8, "little") + text.ljust(size)


@contextlib.contextmanager
def _parquet(file: IO[bytes], names: Sequence[str]) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    row = "row"
    while row in names:
        row = f"_{row}"
    schema = pa.schema([(row, pa.int64()), *((name, pa.float32()) for name in names)])
    with parquet.ParquetWriter(file, schema) as writer:

        def write(features: NDArray[np.float32], numbers: NDArray[np.int64]) -> None:
            columns: list[Any] = [numbers, *np.ascontiguousarray(features.T)]
            if len(features):
                writer.write_batch(pa.record_batch(columns, schema=schema))

        yield write
