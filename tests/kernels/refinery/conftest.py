"""Plans and rows for the tests of the refinery's ops, and what it means that two results are the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from jenga.kernels import refinery
from jenga.kernels.refinery import reference

DATA = Path(__file__).parents[4] / "shared" / "data"

_DEFAULTS: dict[str, dict[str, Any]] = {
    "numeric": {
        "reduce": "count",
        "clip": [None, None], "log1p": False, "offset": 0.0, "scale": 1.0, "limit": None, "knots": [], "references": []
    },
    "boolean": {},
    "categorical": {
        "encoding": "onehot", "values": [], "frequencies": [], "n_buckets": 32, "signed": True, "hash": "jenga"
    },
    "ip": {"prefix_bits": 0},
    "port": {"n_buckets": 16},
    "timestamp": {"unit": "auto", "inter_arrival": True, "offset": 0.0, "scale": 1.0},
    "text": {"ngram": 3, "n_buckets": 32, "lower": True, "signed": True, "hash": "jenga", "norm": "l2"},
    "raw": {},
}  # fmt: skip


def _width(field: dict[str, Any]) -> int:
    kind = field["kind"]
    if kind == "categorical":
        return {"onehot": len(field["values"]) + 1, "hash": field["n_buckets"], "frequency": 1}[field["encoding"]]
    if kind == "timestamp":
        return 4 + field["inter_arrival"]
    own = {"ip": 7, "port": 3, "text": 6, "raw": 0}.get(kind, 1)
    return own + field.get("prefix_bits", 0) + field.get("n_buckets", 0)


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., bytes]:
    """Return a function that lays out columns: of ("path", "kind") or ("path", "kind", {options}) each.

    Options are the plan's own keys, and `indicator=True` for one more column. fitted=False: no field has columns.
    """

    def make(
        *fields: tuple[Any, ...], validate: str = "strict", nan: str = "quarantine", duplicates: str = "last",
        fitted: bool = True, missing: Sequence[str] = (),
    ) -> bytes:  # fmt: skip
        laid_out, at = [], 0
        for path, kind, *options in fields:
            given = dict(options[0]) if options else {}
            wants_indicator = given.pop("indicator", False)
            field = {"path": path, "kind": kind, "required": False, **_DEFAULTS[kind], **given}
            width = _width(field) if fitted else 0
            field["column"] = at if width else -1
            at += width
            field["indicator"] = at if wants_indicator and fitted else -1
            at += field["indicator"] >= 0
            laid_out.append(field)
        content = {
            "version": 2, "validate": validate, "nan": nan, "duplicates": duplicates, "n_features": at,
            "missing": [*missing], "fields": laid_out,
        }  # fmt: skip
        return json.dumps(content, ensure_ascii=False).encode()

    return make


@pytest.fixture(scope="session")
def join_rows() -> Callable[[Sequence[bytes]], tuple[bytes, np.ndarray]]:
    """Return a function that puts rows one after another, a newline between, and gives their places."""

    def join(rows: Sequence[bytes]) -> tuple[bytes, np.ndarray]:
        ends = np.cumsum([len(row) + 1 for row in rows], dtype=np.int64) - 1
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return b"\n".join(rows), np.stack([ends - lengths, ends], axis=1).reshape(-1, 2)

    return join


@pytest.fixture(scope="session")
def real_rows() -> Callable[..., list[bytes]]:
    """Return a function that reads rows of a real file, every `step`-th; skips the test where it is absent."""

    def read(name: str, n_rows: int, *, step: int = 1) -> list[bytes]:
        path = DATA / name
        if not path.is_file():
            pytest.skip("the real rows (../shared/data) are not beside this checkout")
        rows: list[bytes] = []
        with gzip.open(path, "rb") as lines:
            for number, line in enumerate(lines):
                if number % step == 0:
                    rows.append(line.rstrip(b"\r\n"))
                    if len(rows) == n_rows:
                        break
        return rows

    return read


# Both sides calculate in float64 and round to float32 once, but the native logarithms and sines are vector
# approximations, and a feature may be a difference of large values; the design asks for this much.
FEATURES = {"rtol": 1e-5, "atol": 1e-5}
# Epoch seconds of today have 2e-7 between neighbours, and fractions of a second may be added in another order.
SECONDS = {"rtol": 1e-15, "atol": 1e-6}


@pytest.fixture(scope="session")
def as_tensor() -> Callable[[bytes], Tensor]:
    def convert(content: bytes) -> Tensor:
        return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())

    return convert


@pytest.fixture(scope="session")
def agree(
    as_tensor: Callable[[bytes], Tensor], join_rows: Callable[[Sequence[bytes]], tuple[bytes, np.ndarray]]
) -> Callable[..., refinery.ExtractResult]:
    """Return a function that asserts that rows come out of the native ops as they come out of the reference."""

    def check(rows: Sequence[bytes], plan: bytes) -> refinery.ExtractResult:
        data, offsets = join_rows(rows)
        native_input = as_tensor(data), torch.from_numpy(offsets), as_tensor(plan)
        raw = refinery.extract(*native_input)
        _same_raw(raw, reference.extract(data, offsets, plan), json.loads(plan)["fields"])
        if json.loads(plan)["n_features"]:
            result = refinery.refine(*native_input)
            _same_features(result, reference.refine(data, offsets, plan))
            encoded = refinery.encode(raw.numbers, raw.text, raw.text_offsets, raw.states, native_input[2])
            assert torch.equal(encoded.features, result.features)
            assert torch.equal(encoded.states, result.states)
            assert torch.equal(encoded.counters[:, :6], result.counters[:, :6])
        return raw

    return check


def _same_raw(native: refinery.ExtractResult, truth: reference.ExtractResult, fields: list[dict[str, Any]]) -> None:
    np.testing.assert_array_equal(native.quarantine, truth.quarantine)
    np.testing.assert_array_equal(native.states, truth.states)
    np.testing.assert_array_equal(native.counters, truth.counters)
    np.testing.assert_array_equal(native.text_offsets, truth.text_offsets)
    np.testing.assert_array_equal(native.text, truth.text)
    numbers = [field["kind"] for field in fields if field["kind"] in ("numeric", "boolean", "port", "timestamp")]
    for column, kind in enumerate(numbers):
        tolerance = SECONDS if kind == "timestamp" else {"rtol": 0, "atol": 0}
        np.testing.assert_allclose(native.numbers[:, column], truth.numbers[:, column], **tolerance)


def _same_features(native: refinery.RefineResult, truth: reference.RefineResult) -> None:
    assert torch.isfinite(native.features).all()
    np.testing.assert_allclose(native.features, truth.features, **FEATURES)
    np.testing.assert_array_equal(native.states, truth.states)
    np.testing.assert_array_equal(native.counters, truth.counters)
    np.testing.assert_array_equal(native.quarantine, truth.quarantine)
    np.testing.assert_allclose(native.last, truth.last, **SECONDS)
