"""What the estimator is given, made ready."""

import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest

from jenga.refinery import inputs
from jenga.refinery.chunks import RowChunk, TableChunk
from jenga.refinery.estimator import SecurityRefinery
from jenga.refinery.inputs import check_names, chunks_for, known_columns, replayable, set_known_columns, settled_schema


@pytest.mark.parametrize(
    ("source", "is_table"),
    [
        (np.zeros((2, 2)), True), ([[1, 2], [3, 4]], True), (pandas.DataFrame({"a": [1]}), True),
        (pyarrow.table({"a": [1]}), True), ([pyarrow.record_batch({"a": [1]})], True),
        ([{"a": 1}], False), (np.array([{"a": 1}], object), False), (pandas.Series(['{"a": 1}']), False),
        ([], False), (({"a": 1},), False),
    ],
)  # fmt: skip
def test_rows_and_tables_are_told_apart(source: Any, is_table: bool) -> None:
    chunks = list(chunks_for(SecurityRefinery(), source, reset=True))
    assert [type(chunk) for chunk in chunks] == [TableChunk if is_table else RowChunk] * len(chunks)
    assert chunks or source == []


@pytest.mark.parametrize("source", [np.zeros(3), np.zeros((0, 2)), [[1j, 2]], np.zeros((2, 2, 2)), [1.0, 2.0]])
def test_arrays_of_another_form_are_refused_as_scikit_learn_does(source: Any) -> None:
    with pytest.raises(ValueError, match=r"(?i)2D array|minimum of|complex|dim 3"):
        chunks_for(SecurityRefinery(), source, reset=True)


def test_columns_are_known_after_a_table_and_forgotten_after_rows() -> None:
    refinery = SecurityRefinery()
    chunks_for(refinery, pandas.DataFrame({"a": [1], "b": [2]}), reset=True)
    assert known_columns(refinery) == {"n_features_in": 2, "feature_names_in": ["a", "b"]}
    chunks_for(refinery, pandas.DataFrame([[1, 2, 3]]), reset=True)
    assert known_columns(refinery) == {"n_features_in": 3, "feature_names_in": None}
    chunks_for(refinery, [{"a": 1}], reset=False)
    assert known_columns(refinery)["n_features_in"] == 3
    chunks_for(refinery, [{"a": 1}], reset=True)
    assert known_columns(refinery) == {"n_features_in": None, "feature_names_in": None}


def test_names_of_inputs_must_be_those_of_fit() -> None:
    refinery = SecurityRefinery()
    check_names(refinery, ["whatever"])
    set_known_columns(refinery, 2, ["a", "b"])
    check_names(refinery, None)
    check_names(refinery, ["a", "b"])
    with pytest.raises(ValueError, match="not equal to feature_names_in_"):
        check_names(refinery, ["a", "c"])
    set_known_columns(refinery, 2, None)
    with pytest.raises(ValueError, match=r"number of features \(2\), got 3"):
        check_names(refinery, ["a", "b", "c"])


def test_what_can_be_read_once_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO(b"{}")}))
    assert replayable("-") == b"{}"
    assert replayable(iter([{"a": 1}])) == [{"a": 1}]
    table = pyarrow.table({"a": [1]})
    assert replayable(table.to_reader()) == table
    rows = [{"a": 1}]
    assert replayable(rows) is rows
    assert replayable(table) is table
    assert replayable("a.jsonl") == "a.jsonl"


def test_schema_of_what_is_read_once_is_inferred_from_its_first_rows_and_none_is_lost() -> None:
    rows = [{"n": at * 1.5, "kind": "ab"[at % 2]} for at in range(40)] + [{"late": 1}]
    refinery = SecurityRefinery()
    with pytest.warns(UserWarning, match="from the first 40 rows, since these can be read only once; what fields come"):
        schema, chunks = settled_schema(
            None, None, iter([]), chunks_for(refinery, iter(rows), reset=True), 40, lambda: iter([])
        )
    assert [field.path for field in schema.fields] == ["n", "kind"]
    assert sum(len(chunk.numbers) for chunk in chunks) == 41
    flags = np.array([[True, False], [False, False]])
    schema, _ = settled_schema(
        None, None, flags, chunks_for(refinery, flags, reset=True), 40, lambda: chunks_for(refinery, flags)
    )
    assert [field.kind for field in schema.fields] == ["boolean", "boolean"]
    words = np.array([["a", "x"], ["b", "y"], ["a", "z"]] * 9, dtype=object)
    schema, _ = settled_schema(
        None, None, words, chunks_for(refinery, words, reset=True), 40, lambda: chunks_for(refinery, words)
    )
    assert {field.kind for field in schema.fields} == {"categorical"}
    given, _ = settled_schema(None, schema, words, iter([]), 40, lambda: iter([]))
    assert given is schema
    assert inputs.settled_schema("nsl_kdd", None, words, iter([]), 40, lambda: iter([]))[0].name == "nsl_kdd"


def test_schema_of_what_can_be_read_again_is_inferred_from_rows_of_all_of_it(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"n": at * 1.5, "proto": "tcp"} for at in range(300)]
    rows += [{"n": at * 1.5, "proto": "udp", "late": at % 7} for at in range(300)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    for source in (rows, str(path), path.read_bytes(), pandas.DataFrame(rows)):
        refinery = SecurityRefinery(chunk_bytes=1000)
        schema, chunks = settled_schema(
            None, None, source, chunks_for(refinery, source), 40, partial(chunks_for, refinery, source)
        )
        assert {field.path for field in schema.fields} == {"n", "proto", "late"}
        assert sum(len(chunk.numbers) for chunk in chunks) == 600
    once = SecurityRefinery()
    with pytest.warns(UserWarning, match="from the first 40 rows"):
        schema, _ = settled_schema(None, None, iter(rows), chunks_for(once, iter(rows)), 40, lambda: iter([]))
    assert schema.left_out == {
        "proto": "always 'tcp' in the 40 rows that were looked at, so it tells rows apart by nothing"
    }
