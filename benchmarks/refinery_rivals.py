"""What the refinery is measured against: whole pipelines from bytes to float32 features, and simdjson alone.

Polars takes its number of threads from the environment when it is imported, so this module is imported before it.
"""

import ctypes
import io
import ipaddress
import math
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from paired import SMOKE

os.environ["POLARS_MAX_THREADS"] = "1"


@dataclass(frozen=True)
class Rival:
    """A fitted pipeline. `run` returns float32 (rows, columns) of the bytes it was made for; `names`: its columns."""

    names: tuple[str, ...]
    run: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Columns:
    """The columns of a file by what becomes of them; `logged` and `scaled` are numbers."""

    logged: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()
    onehot: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


# -------------------------------------------------------------------------------------------------- A: pandas + sklearn


def pandas_and_sklearn(data: bytes, columns: Columns) -> Rival:
    """pandas.read_json, then a ColumnTransformer of log1p, StandardScaler and OneHotEncoder."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    log1p = FunctionTransformer(np.log1p, feature_names_out="one-to-one")
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, feature_name_combiner=onehot_name)
    transformer = ColumnTransformer(
        [
            ("logged", make_pipeline(log1p, StandardScaler()), list(columns.logged)),
            ("scaled", StandardScaler(), list(columns.scaled)),
            ("onehot", encoder, list(columns.onehot)),
        ],
        verbose_feature_names_out=False,
    )
    transformer.fit(pd.read_json(io.BytesIO(data), lines=True))

    def run() -> np.ndarray:
        return transformer.transform(pd.read_json(io.BytesIO(data), lines=True)).astype(np.float32)

    return Rival(tuple(transformer.get_feature_names_out()), run)


def onehot_name(column: str, value: Any) -> str:
    return f"{column}={value}"


# ------------------------------------------------------------------------------------------------------------ B: polars


def polars_expressions(data: bytes, columns: Columns) -> Rival:
    """polars with a given schema and one fitted expression a column.

    Of the forms tried (scan, eager select, Enum before the comparisons, integers as integers) the fastest.
    """
    import polars as pl

    schema = dict.fromkeys((*columns.logged, *columns.scaled), pl.Float64)
    schema |= dict.fromkeys(columns.onehot, pl.String)
    frame = pl.read_ndjson(data, schema=schema)
    expressions = []
    for name in (*columns.logged, *columns.scaled):
        value = pl.col(name).log1p() if name in columns.logged else pl.col(name)
        mean, deviation = frame.select(value.mean().alias("mean"), value.std(ddof=0).alias("deviation")).row(0)
        expressions.append(((value - mean) / (deviation or 1.0)).cast(pl.Float32).alias(name))
    for name in columns.onehot:
        for known in sorted(frame[name].unique()):
            expressions.append((pl.col(name) == known).cast(pl.Float32).alias(onehot_name(name, known)))

    def run() -> np.ndarray:
        return pl.read_ndjson(data, schema=schema).lazy().select(expressions).collect().to_numpy()

    return Rival(tuple(expression.meta.output_name() for expression in expressions), run)


# ------------------------------------------------------------------------------------------------- D: orjson and Python

ADDRESS_FLAGS = ("v6", "private", "loopback", "multicast", "link_local", "reserved", "global")
PORT_RANGES = ("well_known", "registered", "ephemeral")
Flags = tuple[bool, ...]


def address_flags(text: str | None) -> Flags:
    """The seven flags of an address, in the order of `ADDRESS_FLAGS`."""
    if text is None:
        return (False,) * len(ADDRESS_FLAGS)
    address = ipaddress.ip_address(text)
    return (
        address.version == 6, address.is_private, address.is_loopback, address.is_multicast, address.is_link_local,
        address.is_reserved, address.is_global,
    )  # fmt: skip


def entropy(text: str) -> float:
    """Bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def orjson_and_python(
    data: bytes, columns: Columns, *, n_buckets: int, flags_of: Callable[[str | None], Flags] = address_flags
) -> Rival:
    """orjson, ipaddress and Counter a value; columns of numbers by NumPy, categories by pandas, 3-grams by sklearn."""
    import orjson
    import pandas as pd
    from sklearn.feature_extraction.text import HashingVectorizer

    # The refinery's own settings: character 3-grams, signed murmur3, l2.
    vectorizer = HashingVectorizer(analyzer="char", ngram_range=(3, 3), n_features=n_buckets, dtype=np.float32)
    parsed = [orjson.loads(line) for line in data.split(b"\n") if line]
    known = {name: pd.Index(sorted({row[name] for row in parsed if name in row})) for name in columns.onehot}
    moments = {name: moments_of([row.get(name, math.nan) for row in parsed]) for name in columns.logged}

    def run() -> np.ndarray:
        rows = [orjson.loads(line) for line in data.split(b"\n") if line]
        parts: list[np.ndarray] = []
        for name in columns.logged:
            mean, deviation = moments[name]
            values = np.log1p(np.array([row.get(name, math.nan) for row in rows]))
            parts.append(np.nan_to_num((values - mean) / deviation)[:, None])
        for name in columns.onehot:
            codes = known[name].get_indexer([row.get(name) for row in rows])
            parts.append(codes[:, None] == np.arange(len(known[name])))
        for name in columns.flags:
            parts.append(np.array([row.get(name, False) for row in rows])[:, None])
        for name in columns.addresses:
            parts.append(np.array([flags_of(row.get(name)) for row in rows]))
        for name in columns.ports:
            ports = np.array([row.get(name, -1) for row in rows])
            parts.append(np.stack([(ports >= 0) & (ports < 1024), (ports > 1023) & (ports < 49152), ports > 49151], 1))
        for name in columns.texts:
            texts = [row.get(name, "") for row in rows]
            parts.append(np.log1p([len(text) for text in texts])[:, None])
            parts.append(np.array([entropy(text) for text in texts])[:, None])
            parts.append(vectorizer.transform(texts).toarray())
        return np.hstack([part.astype(np.float32) for part in parts])

    names = [*columns.logged, *(onehot_name(name, value) for name in columns.onehot for value in known[name])]
    names += [*columns.flags, *pairs(columns.addresses, ADDRESS_FLAGS), *pairs(columns.ports, PORT_RANGES)]
    for name in columns.texts:
        names += [f"{name}:length", f"{name}:entropy", *(f"{name}#{bucket}" for bucket in range(n_buckets))]
    return Rival(tuple(names), run)


def moments_of(values: Sequence[float]) -> tuple[float, float]:
    """Mean and deviation of log1p of the values that are there."""
    logs = np.log1p(np.array(values))
    return float(np.nanmean(logs)), float(np.nanstd(logs))


def pairs(fields: Sequence[str], parts: Sequence[str]) -> list[str]:
    return [f"{field}:{part}" for field in fields for part in parts]


# ------------------------------------------------------------------------------------------------------- simdjson alone


def compile_simdjson(folder: Path) -> ctypes.CDLL:
    """Compile native/simdjson_alone.cpp with the simdjson of the wheel pysimdjson, for this very processor.

    Raises FileNotFoundError where there is no g++ or no such wheel.
    """
    spec = find_spec("simdjson")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the wheel pysimdjson, which carries simdjson's sources, is not installed")
    sources, library = Path(spec.submodule_search_locations[0]), folder / "simdjson_alone.so"
    own = Path(__file__).parent / "native" / "simdjson_alone.cpp"
    flags = ["-std=c++20", "-O0" if SMOKE else "-O3", "-march=native", "-DNDEBUG", "-shared", "-fPIC", f"-I{sources}"]
    subprocess.run(["g++", *flags, str(own), str(sources / "simdjson.cpp"), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.decode_lines.restype = ctypes.c_int64
    loaded.decode_lines.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, ctypes.POINTER(ctypes.c_uint64)]
    return loaded


def simdjson_alone(library: ctypes.CDLL, data: bytes) -> Callable[[], int]:
    """Decode every value of every row and drop it; the function returns the number of rows."""
    padded = data + bytes(64)
    total = ctypes.c_uint64()

    def run() -> int:
        return library.decode_lines(padded, len(data), len(padded), ctypes.byref(total))

    return run
