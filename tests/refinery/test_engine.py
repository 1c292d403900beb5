"""A plan at work on chunks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch

from jenga.refinery.engine import Engine, first_rows, python_values
from jenga.refinery.plan import compile_plan
from jenga.refinery.schema import read_schema
from jenga.refinery.sources import chunks_of
from jenga.refinery.statistics import Statistics


@pytest.fixture(scope="session")
def make_engine(event_schema: dict[str, Any], make_events: Callable[..., Any]) -> Callable[[], Engine]:
    schema = read_schema(event_schema)
    statistics = Statistics(schema)
    raw = Engine(compile_plan(schema, None), n_threads=1, redact=False)
    for chunk in chunks_of(make_events(100), chunk_bytes=1 << 20):
        statistics.update(raw.raw(chunk).block)
    return lambda: Engine(compile_plan(schema, statistics), n_threads=None, redact=False)


@pytest.mark.parametrize("make_source", [lambda rows: rows, pyarrow.Table.from_pylist])
def test_chunks_one_after_another_are_as_one(
    make_engine: Callable[[], Engine], make_events: Callable[..., Any], make_source: Callable[..., Any]
) -> None:
    rows = [row | {"share": 1.0} for row in make_events(30)]
    [whole] = [make_engine().refine(chunk) for chunk in chunks_of(make_source(rows), chunk_bytes=1 << 20)]
    engine = make_engine()
    parts = [
        engine.refine(chunk)
        for begin in range(0, 30, 7)
        for chunk in chunks_of(make_source(rows[begin : begin + 7]), chunk_bytes=1 << 20)
    ]
    assert torch.equal(torch.cat([part.features for part in parts]), whole.features)
    assert sum(part.counters.counts for part in parts).tolist() == whole.counters.counts.tolist()


def test_features_go_to_memory_that_was_given(
    make_engine: Callable[[], Engine], make_events: Callable[..., Any]
) -> None:
    rows = [row | {"share": 1.0} for row in make_events(5)]
    for source in (rows, pyarrow.Table.from_pylist(rows), [*rows[:4], b"{"]):
        [chunk] = chunks_of(source, chunk_bytes=1 << 20)
        wanted = make_engine().refine(chunk).features
        out = torch.full((5, wanted.shape[1]), -1.0)
        found = make_engine().refine(chunk, out=out).features
        assert found.data_ptr() == out.data_ptr()
        assert torch.equal(found, wanted)
        assert torch.equal(out[: len(wanted)], wanted)


def test_raw_values_leave_bad_rows_out(make_engine: Callable[[], Engine]) -> None:
    [chunk] = chunks_of([{"bytes": 1}, b"nope", {"bytes": "2"}], chunk_bytes=100)
    raw = make_engine().raw(chunk)
    assert raw.numbers.tolist() == [1, 3]
    assert [record.number for record in raw.quarantine] == [2]
    assert raw.counters["bytes"]["coerced"] == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_first_rows_are_objects_and_no_chunk_is_lost(count: int) -> None:
    sources = [[b"[1]", b"{", {"a": 1}], [{"b": float("nan")}], [{"c": 3}]]
    chunks = [chunk for source in sources for chunk in chunks_of(source, chunk_bytes=100)]
    rows, again = first_rows(chunks, count)
    assert [list(row) for row in rows] == [["a"], ["b"], ["c"]][:count]
    assert list(again) == chunks
    table = pyarrow.table({"a": [1.0, float("nan")], "b": ["x", None]})
    assert first_rows(chunks_of(table, chunk_bytes=1), 5)[0] == [{"a": 1.0, "b": "x"}, {"a": None, "b": None}]


def test_python_values_have_none_for_nan() -> None:
    assert python_values(pyarrow.array([1.5, None, float("nan")])) == [1.5, None, None]
    assert python_values([np.float64("nan"), "x"]) == [None, "x"]
