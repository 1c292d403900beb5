"""Rows as the native functions see them, by the Python reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import seeds

from jenga.kernels.refinery.reference import extract, refine
from jenga.refinery.plan import CompiledPlan, compile_plan
from jenga.refinery.schema import RefinerySchema
from jenga.refinery.statistics import RawBlock


def _packed(rows: Sequence[Any]) -> tuple[bytes, np.ndarray[Any, Any]]:
    written = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    ends = np.cumsum([len(row) for row in written], dtype=np.int64)
    return b"".join(written), np.stack([ends - [len(row) for row in written], ends], axis=1)


@pytest.fixture(scope="session")
def raw_block() -> Callable[[RefinerySchema, Sequence[Any]], RawBlock]:
    """Return a function that extracts the raw values of rows (dicts, or JSON as bytes)."""

    def make(schema: RefinerySchema, rows: Sequence[Any]) -> RawBlock:
        raw = extract(*_packed(rows), compile_plan(schema, None).plan)
        assert not len(raw.quarantine)
        return RawBlock(raw.numbers, raw.text, raw.text_offsets, raw.states)

    return make


@pytest.fixture(scope="session")
def features() -> Callable[[CompiledPlan, Sequence[Any]], dict[str, list[float]]]:
    """Return a function that refines rows and gives each column's values by its name."""

    def make(compiled: CompiledPlan, rows: Sequence[Any]) -> dict[str, list[float]]:
        found = refine(*_packed(rows), compiled.plan).features
        assert found.shape == (len(rows), compiled.n_features)
        assert np.isfinite(found).all()
        return {name: found[:, at].tolist() for at, name in enumerate(compiled.feature_names)}

    return make


EVENT_FIELDS = [
    {"path": "ts", "kind": "timestamp"},
    {"path": "id.orig_h", "kind": "ip", "prefix_bits": 4},
    {"path": "id.resp_p", "kind": "port"},
    {"path": "bytes", "kind": "numeric", "log1p": True},
    {"path": "share", "kind": "numeric", "scale": "quantile", "n_knots": 16},
    {"path": "proto", "kind": "categorical"},
    {"path": "rcode", "kind": "categorical", "encoding": "hash", "n_buckets": 8},
    {"path": "ok", "kind": "boolean"},
    {"path": "query", "kind": "text", "n_buckets": 8},
]


@pytest.fixture(scope="session")
def event_schema() -> dict[str, Any]:
    """A schema with a field of every kind, for `make_events`."""
    return {"name": "events", "fields": EVENT_FIELDS}


@pytest.fixture(scope="session")
def make_events() -> Callable[..., list[dict[str, Any]]]:
    """Return a function that makes flat or nested events, where values are missing, null or text here and there."""

    def make(count: int, *, nested: bool = False, seed: int = 0) -> list[dict[str, Any]]:
        rng = np.random.default_rng(seeds.derived(seed))
        rows = []
        for at in range(count):
            address = f"10.{at % 5}.0.{at % 250}" if at % 4 else "fe80::1%eth0"
            ends = {"orig_h": address, "resp_p": int(rng.integers(99))}
            row: dict[str, Any] = {
                "ts": 1.7e9 + 3.25 * at,
                **({"id": ends} if nested else {f"id.{key}": value for key, value in ends.items()}),
                "bytes": int(rng.integers(1, 10**6)),
                "share": float(rng.normal()),
                "proto": ("udp", "tcp", "é")[at % 3],
                "rcode": at % 4,
                "ok": bool(at % 2),
                "query": f"host{at % 11}.example.com",
                "uid": f"u{at}",
            }
            if at % 10 == 3:
                del row["bytes"]
            if at % 10 == 4:
                row |= {"proto": None, "share": str(row["share"])}
            rows.append(row)
        return rows

    return make
