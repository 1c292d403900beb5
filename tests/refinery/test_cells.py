"""Values in columns become what the same values in JSON become."""

import datetime
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jenga.errors import DataError
from jenga.kernels.refinery import extract, pack_rows
from jenga.refinery.cells import find_column, raw_of_table
from jenga.refinery.chunks import TableChunk
from jenga.refinery.estimator import SecurityRefinery
from jenga.refinery.plan import compile_plan
from jenga.refinery.result import COUNTS
from jenga.refinery.schema import read_schema
from jenga.refinery.statistics import ABSENT, NULL, RawBlock

KINDS = ["numeric", "boolean", "port", "timestamp", "categorical", "ip", "text"]


def plan_of(*fields: dict[str, Any]) -> bytes:
    return compile_plan(read_schema({"fields": list(fields)}), None).plan


def by_columns(columns: dict[str, Any], plan: bytes, *, typed: bool = True) -> tuple[RawBlock, Any, Any, Any]:
    n_rows = len(next(iter(columns.values())))
    chunk = TableChunk(columns, np.arange(1, n_rows + 1), "t", typed=typed)
    return raw_of_table(chunk, json.loads(plan), redact=False)


def by_json(rows: Sequence[dict[str, Any]], plan: bytes) -> Any:
    return extract(*pack_rows(rows), torch.frombuffer(bytearray(plan), dtype=torch.uint8))


def assert_same(column: Any, values: Sequence[Any], kind: str, **options: Any) -> None:
    """The raw values, states and counts of `column` are those of `values` as JSON."""
    plan = plan_of({"path": "v", "kind": kind, **options})
    block, counts, _, records = by_columns({"v": column}, plan)
    wanted = by_json([{"v": value} for value in values], plan)
    assert records == []
    assert len(wanted.quarantine) == 0
    np.testing.assert_array_equal(block.states, wanted.states)
    np.testing.assert_array_equal(block.numbers, wanted.numbers)
    assert block.text.tobytes() == wanted.text.numpy().tobytes()
    np.testing.assert_array_equal(block.text_offsets, wanted.text_offsets)
    np.testing.assert_array_equal(counts, wanted.counters)


TEXTS = st.text(" +-.0123456789eEtrufalsyno:TZ/x", max_size=12) | st.sampled_from(
    ["true", "No", " 12 ", "+5", "+-5", "1e999", "-1e999", "65536", "80", "80.0", "2024-02-30", "2024-02-29T01:02:03Z",
     "10.0.0.1", "::ffff:1.2.3.4", "fe80::1%eth0", "NaN", "Infinity", "0x10", "1_0", "٣", "\x0b7", "1700000000000"]
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.none() | TEXTS, min_size=1, max_size=6))
def test_text_is_read_as_in_json(kind: str, values: list[Any]) -> None:
    assert_same(pa.array(values, pa.string()), values, kind)
    assert_same(pa.array(values, pa.string()).dictionary_encode(), values, kind)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 70_000), min_size=1, max_size=6))
@example(values=[1_700_000_000, 1_700_000_000_000, 1_700_000_000_000_000, None, 65_535, 65_536])
def test_whole_numbers_are_read_as_in_json(kind: str, values: list[Any]) -> None:
    assert_same(pa.array(values, pa.int64()), values, kind)


@pytest.mark.parametrize("kind", ["numeric", "boolean", "port", "timestamp", "ip"])
@pytest.mark.parametrize("unit", ["auto", "ms"])
@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
@example(values=[80.0, 80.5, 0.0, 1.0, -0.0, 1e11, 1e14, 1e17, None])
def test_fractions_are_read_as_in_json(kind: str, unit: str, values: list[Any]) -> None:
    assert_same(pa.array(values, pa.float64()), values, kind, **({"unit": unit} if kind == "timestamp" else {}))


@pytest.mark.parametrize("kind", KINDS)
def test_booleans_lists_objects_and_nulls_are_read_as_in_json(kind: str) -> None:
    for values in ([True, None, False], [[1], None, []], [{"a": 1}, None, {"a": 2}], [None, None]):
        assert_same(pa.array(values), values, kind)
    mixed = [1, "2", True, None, [1], {"a": 2}, 2.5, "x", "10.0.0.1"]
    assert_same(mixed, mixed, kind)


NESTED = st.recursive(
    st.none() | st.sampled_from(["x", "y", "", "1", "-", 2, 2.5, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(values=st.lists(NESTED, min_size=1, max_size=5), others=st.lists(NESTED, min_size=5, max_size=5))
def test_elements_sets_and_other_paths_are_read_as_in_json(values: list[Any], others: list[Any]) -> None:
    plan = plan_of(
        {"path": "y[0]", "kind": "categorical"}, {"path": "v[*]", "kind": "categorical"},
        {"path": "z[*].a", "kind": "numeric", "reduce": "sum"}, {"path": "z[1].a[0]", "kind": "text"},
        {"paths": ["w", "x", "y"], "kind": "numeric"}, {"paths": ["v2[*]", "u[*]"], "kind": "categorical"},
    )  # fmt: skip
    columns = {
        "v": values,
        "w": others[: len(values)],
        "y": values,
        "z": values,
        "v2": others[: len(values)],
        "u": [["u"]] * len(values),
    }
    block, _, _, _ = by_columns(columns, plan)
    wanted = by_json([{name: column[at] for name, column in columns.items()} for at in range(len(values))], plan)
    # A row of a table has every column: what an object lacks is null there.
    np.testing.assert_array_equal(np.where(block.states == ABSENT, NULL, block.states),
                                  np.where(wanted.states == ABSENT, NULL, wanted.states))  # fmt: skip
    np.testing.assert_array_equal(block.numbers, wanted.numbers)
    assert block.text.tobytes() == wanted.text.numpy().tobytes()


def test_lists_and_structs_of_arrow_are_read_by_elements() -> None:
    rows: list[dict[str, Any]] = [{"q": [{"n": "x"}, {"n": "y"}]}, {"q": []}, {"q": None}]
    columns = {"q": pa.array([row["q"] for row in rows])}
    assert find_column(columns, "q[*].n") == [["x", "y"], [], None]
    assert find_column(columns, "q[1].n") == ["y", None, None]
    assert find_column(columns, "w[0]") is None
    assert find_column({"q[0]": 1}, "q[0]") == 1


def test_nan_is_missing_and_infinity_too_large() -> None:
    plan = plan_of({"path": "n", "kind": "numeric"}, {"path": "c", "kind": "categorical"})
    column = pa.array([float("nan"), float("inf"), 6.0])
    block, counts, _, _ = by_columns({"n": column, "c": pa.array([float("nan"), 6.0, 6.5])}, plan)
    assert block.states.tolist() == [[2, 2], [4, 0], [0, 0]]
    assert block.texts(0, np.array([False, True, True])).to_pylist() == [b"6", b"6.5"]
    assert counts[0, COUNTS.index("overflow")] == 1


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("tz", [None, "Europe/Berlin"])
def test_moments_are_seconds_in_utc(unit: str, tz: str | None) -> None:
    micros = 1_700_000_000_000_000 + (0 if unit == "s" else 250_000)
    column = pa.array([micros, None], pa.timestamp("us")).cast(pa.timestamp(unit, tz=tz))
    block, counts, _, _ = by_columns({"t": column}, plan_of({"path": "t", "kind": "timestamp"}))
    assert block.numbers[0, 0] == micros / 1e6
    assert block.states[:, 0].tolist() == [0, 2]
    assert counts[0, COUNTS.index("coerced")] == 0
    day = pa.array([datetime.date(2024, 1, 2)])
    assert by_columns({"t": day}, plan_of({"path": "t", "kind": "timestamp"}))[0].numbers[0, 0] == 1_704_153_600.0
    assert by_columns({"t": day}, plan_of({"path": "t", "kind": "numeric"}))[0].states[0, 0] == 3


def test_texts_of_several_fields_lie_row_by_row() -> None:
    rows = [{"a": f"a{at}" * at, "n": at, "b": None if at == 1 else f"é{at}", "i": "10.0.0.1"} for at in range(5)]
    plan = plan_of(
        {"path": "a", "kind": "text"}, {"path": "n", "kind": "numeric"}, {"path": "b", "kind": "categorical"},
        {"path": "i", "kind": "ip"}, {"path": "gone", "kind": "text"},
    )  # fmt: skip
    block, _, _, _ = by_columns({name: pa.array([row[name] for row in rows]) for name in rows[0]}, plan)
    wanted = by_json(rows, plan)
    assert block.text.tobytes() == wanted.text.numpy().tobytes()
    np.testing.assert_array_equal(block.text_offsets, wanted.text_offsets)
    np.testing.assert_array_equal(block.states, wanted.states)


def test_paths_reach_into_structs_and_objects_and_whole_names_come_first() -> None:
    outer = pa.array([{"h": {"x": 1}}, None, {"h": None}])
    columns = {"id": outer, "id.p": pa.array([7, 8, 9]), "mixed": [{"k": 1}, 5, None]}
    assert find_column(columns, "id.h.x").to_pylist() == [1, None, None]
    assert find_column(columns, "id.p").to_pylist() == [7, 8, 9]
    assert find_column(columns, "mixed.k") == [1, None, None]
    assert find_column(columns, "id.q") is None
    assert find_column(columns, "idh") is None


def test_row_without_a_required_field_is_set_aside() -> None:
    fields = [{"path": "a", "kind": "numeric"}, {"path": "b/c", "kind": "text"}]
    plan = plan_of(*(field | {"required": True} for field in fields))
    columns = {"a": pa.array([1, None, 3, 4]), "b/c": pa.array(["x", "y", None, "z"])}
    block, counts, numbers, records = by_columns(columns, plan)
    assert block.numbers[:, 0].tolist() == [1.0, 4.0]
    assert numbers.tolist() == [1, 4]
    assert [(each.number, each.code, each.pointer) for each in records] == [
        (2, "missing_field", "/a"), (3, "missing_field", "/b~1c"),
    ]  # fmt: skip
    assert counts[:, 0].tolist() == [2, 2]


def test_cells_of_a_file_without_types_are_no_coercions() -> None:
    plan = plan_of({"path": "a", "kind": "numeric"}, {"path": "b", "kind": "boolean"})
    columns = {"a": pa.array(["1", "x"]), "b": pa.array(["true", "0"])}
    coerced = COUNTS.index("coerced")
    assert by_columns(columns, plan)[1][:, coerced].tolist() == [1, 2]
    assert by_columns(columns, plan, typed=False)[1][:, coerced].tolist() == [0, 0]


def test_bytes_must_be_utf8() -> None:
    plan = plan_of({"path": "a", "kind": "text"})
    assert by_columns({"a": pa.array(["é".encode()])}, plan)[0].text.tobytes() == "é".encode()
    with pytest.raises(DataError, match="t: column 'a' holds bytes that are not UTF-8"):
        by_columns({"a": pa.array([b"\xff"])}, plan)
    assert by_columns({"a": pa.array([b"ab"], pa.binary(2))}, plan)[0].text.tobytes() == b"ab"


def test_bytes_in_lists_are_no_cells() -> None:
    for path, column in (("a[*]", pa.array([[b"x"]])), ("a", [b"x", 1]), ("a", pa.array([[b"x"]]))):
        with pytest.raises(DataError, match=re.escape(f"t: column '{path}' holds a bytes, which is no cell of events")):
            by_columns({"a": column}, plan_of({"path": path, "kind": "categorical"}))


def test_words_for_nothing_are_null_in_tables_too() -> None:
    refinery = SecurityRefinery(
        schema={"fields": [{"path": "n", "kind": "numeric"}, {"path": "h", "kind": "ip"}], "missing": ["-", "-1"]}
    ).fit([{"n": 1, "h": "10.0.0.1"}])
    raw = refinery.raw(pa.table({"n": ["-1", " - ", "5"], "h": ["-", "::1", "-1"]}))
    assert raw.values("n") == [None, None, 5.0]
    assert raw.values("h") == [None, b"::1", None]
    assert [raw.counters[path]["null"] for path in ("n", "h")] == [2, 2]
