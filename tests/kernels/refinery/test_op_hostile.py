"""Input that is made to do harm: it costs time, memory or wrong numbers in a careless reader."""

from __future__ import annotations

import ctypes
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jenga.kernels.refinery import pack_rows, refine, split_rows

TEXT = {
    "path": "t", "kind": "text", "required": False, "column": 0, "indicator": -1, "ngram": 3, "n_buckets": 32,
    "lower": True, "signed": True, "hash": "jenga", "norm": "l2",
}  # fmt: skip


def plan_of(n_features: int, *fields: dict[str, Any]) -> torch.Tensor:
    plan = {"version": 2, "validate": "strict", "nan": "quarantine", "duplicates": "last", "n_features": n_features}
    return torch.frombuffer(bytearray(json.dumps(plan | {"fields": fields}).encode()), dtype=torch.uint8)


def test_long_runs_of_two_letters_have_ngrams_of_length_one() -> None:
    # Their counts grow in one bucket and shrink again: a sum of squares in float32 would end below 0.
    features = refine(*pack_rows([{"t": "a" * 6800 + "d" * 6800}, {"t": "a" * 3_000_000}]), plan_of(38, TEXT)).features
    lengths = np.linalg.norm(features[:, 6:].double().numpy(), axis=1)
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-6)  # float32 rounds each bucket


def test_a_value_that_is_a_knot_of_another_library_s_logarithm_meets_its_knot() -> None:
    values = np.repeat(np.arange(1, 400) * 1.37, 5)
    knots = np.log1p(values)
    references = np.linspace(0, 1, len(knots))
    field = {
        "path": "x", "kind": "numeric", "required": False, "column": 0, "indicator": -1, "clip": None, "log1p": True,
        "offset": 0.0, "scale": 1.0, "limit": None, "knots": knots.tolist(), "references": references.tolist(),
    }  # fmt: skip
    features = refine(*pack_rows([{"x": float(value)} for value in values]), plan_of(1, field)).features[:, 0].numpy()
    wanted = references.reshape(-1, 5).mean(axis=1).repeat(5)
    wanted[:5], wanted[-5:] = 0.0, 1.0
    np.testing.assert_allclose(features, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("data", [torch.ones(1, dtype=torch.uint8).expand(1 << 20), torch.arange(20).byte()[::2]])
def test_bytes_that_do_not_lie_side_by_side_are_refused(data: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="contiguous"):
        split_rows(data, final=True)


def test_rows_that_python_cannot_write_are_named() -> None:
    with pytest.raises(ValueError, match="row 1 has no JSON form"):
        pack_rows([{"a": 1}, {"a": 10**5000}])

    class Clearing:
        def __init__(self, row: dict[Any, Any]) -> None:
            self.row = row

        def __str__(self) -> str:
            self.row.clear()
            return "key"

    row: dict[Any, Any] = {"before": 1}
    row[Clearing(row)] = "value"
    with pytest.raises(ValueError, match="row 0: changed while it was read"):
        pack_rows([row])


def test_rows_cut_off_inside_an_array_do_not_reach_for_their_neighbours() -> None:
    good = b'{"t":"x","y":[1,2]}'
    cut = b'{"y":[' + b"1," * 200
    data, offsets = pack_rows([cut, good] * 50)
    result = refine(data, offsets, plan_of(38, TEXT))
    assert result.quarantine[:, 0].tolist() == list(range(0, 100, 2))
    assert set(result.quarantine[:, 1].tolist()) == {4}
    assert torch.equal(result.features, refine(*pack_rows([good] * 50), plan_of(38, TEXT)).features)


def test_short_rows_of_a_wide_schema_are_read_in_portions() -> None:
    from jenga.refinery import SecurityRefinery

    fields = [{"path": f"x{i}", "kind": "numeric"} for i in range(500)]
    refinery = SecurityRefinery(schema={"fields": fields}).fit([{f"x{i}": float(i) for i in range(500)}] * 2)
    rows = b'{"x0":1}\n' * 100_000
    assert len(rows) < refinery.chunk_bytes
    with pytest.warns(UserWarning, match="none of 100,000 rows has"):
        parts = [len(part.numbers) for part in refinery.stream(rows)]
    assert sum(parts) == 100_000
    # 500 columns of 4 bytes, with raw values: portions of 64 MiB, not the 200 MB of all rows.
    assert max(parts) * 500 * 4 <= 64 << 20
    assert len(parts) > 3


def test_features_are_not_written_over_what_they_are_read_from() -> None:
    boolean = {"path": "b", "kind": "boolean", "required": False, "column": 0, "indicator": -1}
    data, offsets = pack_rows([{"b": True}] * 4)
    plan = plan_of(1, boolean)
    for name, shared in (("data", data), ("row_offsets", offsets), ("plan", plan)):
        out = shared.view(-1).view(torch.uint8)[:16].view(torch.float32).view(4, 1)
        with pytest.raises(ValueError, match=f"out: shares memory with {name}"):
            refine(data, offsets, plan, out=out)
    assert refine(data, offsets, plan, out=torch.zeros(4, 1)).features.sum() == 4


def test_counts_that_cannot_be_are_refused() -> None:
    data, offsets = pack_rows([{"t": "a"}])
    with pytest.raises(ValueError, match="n_threads: got 1025; allowed: 1 to 1024"):
        refine(data, offsets, plan_of(38, TEXT), n_threads=1025)
    for n_threads in (0, 1025):
        with pytest.raises(ValueError, match=f"n_threads: got {n_threads}; allowed: 1 to 1024"):
            split_rows(data, final=True, n_threads=n_threads)
    with pytest.raises(ValueError, match="max_row_bytes: got -1; allowed: 0 to"):
        split_rows(data, final=True, max_row_bytes=-1)
    for first in (-1, 2**63 - 1):
        with pytest.raises(ValueError, match=f"first: got {first}; allowed: 0 to"):
            pack_rows([{"t": "a"}], first=first)


@contextmanager
def stacks_of(size: int) -> Iterator[None]:
    """Give stacks of `size` bytes to threads that are started now."""
    libc, before, other = ctypes.CDLL(None), ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    assert libc.pthread_getattr_default_np(before) == 0
    assert libc.pthread_getattr_default_np(other) == 0
    assert libc.pthread_attr_setstacksize(other, ctypes.c_size_t(size)) == 0
    assert libc.pthread_setattr_default_np(other) == 0
    try:
        yield
    finally:
        assert libc.pthread_setattr_default_np(before) == 0


def test_threads_that_the_system_refuses_to_start_are_told_of() -> None:
    data, offsets = pack_rows([{"t": "a" * 40_000}] * 200)
    plan = plan_of(38, TEXT)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    # Room for the stacks of two threads, and enough beside them: without any, it is glibc that gives up.
    limit = pages * resource.getpagesize() + (5 << 29)
    with stacks_of(1 << 30):
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        try:
            with pytest.raises(RuntimeError, match=r"n_threads: the system started \d of the 199 threads"):
                refine(data, offsets, plan, n_threads=200)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
    assert len(refine(data, offsets, plan, n_threads=3).features) == 200


def test_a_date_whose_iso_form_is_no_text_is_named() -> None:
    class Date:
        def isoformat(self) -> int:
            return 7

    with pytest.raises(TypeError, match="row 0: holds a Date; allowed: None, bool"):
        pack_rows([{"t": Date()}])
