"""The refinery's ops on rows of the real files: as the reference reads them, and as pandas and scikit-learn do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from jenga.kernels import refinery

# What the design asks: both sides calculate in float64, and the result is float32.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

NSL_KDD = (
    *((name, "numeric", {"log1p": True, "offset": 1.0, "scale": 0.5}) for name in ("duration", "src_bytes", "urgent")),
    *((name, "numeric", {"offset": 0.5, "scale": 2.0, "limit": 3.0}) for name in ("serror_rate", "count")),
    *((name, "boolean") for name in ("land", "logged_in", "is_guest_login")),
    ("protocol_type", "categorical", {"values": ["icmp", "tcp", "udp"]}),
    ("service", "categorical", {"encoding": "hash"}),
    ("flag", "categorical", {"encoding": "frequency", "values": ["S0", "SF"], "frequencies": [0.3, 0.6]}),
    ("label", "raw"),
)  # fmt: skip
ZEEK = (
    ("ts", "timestamp", {"offset": 1.0, "scale": 0.5, "indicator": True}),
    ("id.orig_h", "ip", {"prefix_bits": 16}), ("id.resp_h", "ip", {"prefix_bits": 32, "indicator": True}),
    ("id.orig_p", "port"), ("id.resp_p", "port", {"n_buckets": 4}),
    ("proto", "categorical", {"values": ["tcp", "udp"]}), ("query", "text", {"indicator": True}),
    ("server_name", "text", {"ngram": 2, "n_buckets": 64, "norm": "none"}),
    ("rtt", "numeric", {"log1p": True, "indicator": True}), ("TTLs", "raw"), ("rejected", "boolean"),
    ("_path", "categorical", {"encoding": "hash", "hash": "murmur3"}), ("AA", "boolean", {"indicator": True}),
)  # fmt: skip
SYSMON = (
    ("@timestamp", "timestamp"), ("EventID", "categorical", {"values": ["1", "10", "7"]}),
    ("Level", "numeric", {"indicator": True}), ("Message", "text", {"n_buckets": 16}), ("Hostname", "text"),
    ("winlog.event_id", "numeric"), ("CommandLine", "text", {"ngram": 4, "indicator": True}), ("Keywords", "raw"),
    ("SourceIp", "ip", {"indicator": True}), ("DestinationPort", "port", {"indicator": True}), ("ProcessId", "port"),
    ("Task", "numeric"), ("Initiated", "boolean", {"indicator": True}), ("UtcTime", "timestamp", {"indicator": True}),
)  # fmt: skip
FILES = {
    "nsl-kdd/KDDTest+.jsonl.gz": (NSL_KDD, 5, 3000),
    "zeek/zeek.jsonl.gz": (ZEEK, 60, 2000),
    "sysmon/metasploit_sharpdump_lsass_memory_dump.jsonl.gz": (SYSMON, 3, 1000),
}


@pytest.mark.parametrize("name", FILES)
def test_real_rows_come_out_as_in_the_reference(
    name: str,
    real_rows: Callable[..., list[bytes]],
    make_plan: Callable[..., bytes],
    agree: Callable[..., refinery.ExtractResult],
) -> None:
    fields, step, n_rows = FILES[name]
    rows = real_rows(name, n_rows, step=step)
    raw = agree(rows, make_plan(*fields))
    assert len(raw.states) == len(rows) > 500
    given = (raw.states == 0).any(dim=0)
    assert given.float().mean() > 0.6, "the fields are those of the file"


def test_features_equal_pandas_and_sklearn_on_nsl_kdd(
    real_rows: Callable[..., list[bytes]],
    make_plan: Callable[..., bytes],
    join_rows: Callable[..., tuple[bytes, np.ndarray]],
    as_tensor: Callable[[bytes], torch.Tensor],
) -> None:
    import pandas as pd

    training = pd.DataFrame(map(json.loads, real_rows("nsl-kdd/KDDTrain+.jsonl.gz", 20_000, step=6)))
    training = training[training["service"] != "ftp_data"]
    rows = real_rows("nsl-kdd/KDDTest+.jsonl.gz", 6_000, step=3)
    asked = pd.DataFrame(map(json.loads, rows))
    transformer = column_transformer().fit(training)
    expected = transformer.transform(asked)
    plan = make_plan(*fields_of(transformer))

    data, offsets = join_rows(rows)
    result = refinery.refine(as_tensor(data), torch.from_numpy(offsets), as_tensor(plan), n_threads=2)
    assert len(result.quarantine) == 0
    unknown = unknown_columns(plan)
    known = [column for column in range(result.features.shape[1]) if column not in unknown]
    assert expected.dtype == np.float64
    np.testing.assert_allclose(result.features[:, known], expected, **TOLERANCE)
    # A row has one category or, where training lacked it, the unknown column, which sklearn does not have.
    onehot = expected[:, transformer.output_indices_["onehot"]].sum(axis=1)
    assert (result.features[:, unknown].sum(dim=1).numpy() + onehot == len(unknown)).all()
    assert onehot.min() < len(unknown) == len(ONE_HOT)


LOG, STANDARD = ["duration", "src_bytes", "dst_bytes"], ["hot", "num_root", "num_compromised", "dst_host_serror_rate"]
MIN_MAX, ROBUST = ["serror_rate", "count", "srv_count"], ["dst_host_count", "dst_host_srv_count", "num_file_creations"]
QUANTILE, ONE_HOT = ["same_srv_rate", "diff_srv_rate", "dst_host_same_srv_rate"], ["protocol_type", "service"]
HASHED, N_HASHED = "flag", 48


def column_transformer() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import (
        FunctionTransformer,
        MinMaxScaler,
        OneHotEncoder,
        QuantileTransformer,
        RobustScaler,
        StandardScaler,
    )

    def tokens(frame: Any) -> list[list[str]]:
        return [[value] for value in frame[HASHED]]

    hasher = FeatureHasher(N_HASHED, input_type="string")
    return ColumnTransformer(
        [
            ("log", make_pipeline(FunctionTransformer(np.log1p), StandardScaler()), LOG),
            ("standard", StandardScaler(), STANDARD),
            ("minmax", MinMaxScaler(), MIN_MAX),
            ("robust", RobustScaler(), ROBUST),
            ("quantile", QuantileTransformer(n_quantiles=256, subsample=None), QUANTILE),
            ("onehot", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ONE_HOT),
            ("hash", make_pipeline(FunctionTransformer(tokens), hasher), [HASHED]),
        ],
        sparse_threshold=0.0,
    )  # fmt: skip


def fields_of(transformer: Any) -> list[tuple[Any, ...]]:
    """Return the fields of a plan that says what a fitted transformer of `column_transformer` does."""
    parts = transformer.named_transformers_
    log, standard, minmax, robust = parts["log"][-1], parts["standard"], parts["minmax"], parts["robust"]
    quantile = parts["quantile"]
    fields: list[tuple[Any, ...]] = []
    for names, offsets, scales, options in (
        (LOG, log.mean_, log.scale_, {"log1p": True}),
        (STANDARD, standard.mean_, standard.scale_, {}),
        (MIN_MAX, minmax.data_min_, minmax.data_range_, {}),
        (ROBUST, robust.center_, robust.scale_, {}),
    ):
        for name, offset, scale in zip(names, offsets, scales, strict=True):
            fields.append((name, "numeric", {"offset": float(offset), "scale": 1.0 / float(scale), **options}))
    for index, name in enumerate(QUANTILE):
        knots = quantile.quantiles_[:, index].tolist()
        fields.append((name, "numeric", {"knots": knots, "references": quantile.references_.tolist()}))
    for name, categories in zip(ONE_HOT, parts["onehot"].categories_, strict=True):
        fields.append((name, "categorical", {"values": list(categories)}))
    fields.append((HASHED, "categorical", {"encoding": "hash", "n_buckets": N_HASHED, "hash": "murmur3"}))
    return fields


def unknown_columns(plan: bytes) -> list[int]:
    return [
        field["column"] + len(field["values"])
        for field in json.loads(plan)["fields"]
        if field.get("encoding") == "onehot"
    ]
