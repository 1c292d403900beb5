"""Events read with the cells of labels and ids, and their features lined up with the rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from jenga.errors import DataError
from jenga.labels.column import HeadColumn
from jenga.modalities.events.events import (
    Events,
    events_of,
    label_columns,
    read_events,
    refine_events,
)
from jenga.modalities.events.modality import EventFields
from jenga.refinery import SecurityRefinery
from jenga.rows.parse import SourceSpec
from jenga.rows.readers import FileForm

COLUMNS = ("labels.find", "label", "labels", "find", "id")
ROWS: list[dict[str, Any]] = [
    {"id": "a", "n": 1, "kind": "x", "label": "bad"},
    {"id": 7, "n": "2.5", "kind": None, "label": "good"},
    {"id": "c", "n": None, "kind": "y"},
]


def refinery(**options: Any) -> SecurityRefinery:
    return SecurityRefinery(max_bad_fraction=1.0, n_threads=1, **options)


def fitted(**fields: Any) -> SecurityRefinery:
    schema = {"fields": [{"path": "n", "kind": "numeric", **fields}, {"path": "kind", "kind": "categorical"}]}
    return refinery(schema=schema).fit([{"n": 1, "kind": "x"}, {"n": 3, "kind": "y"}, {"kind": "x"}])


def events(rows: list[Any], **options: Any) -> Events:
    numbers = range(1, len(rows) + 1)
    return events_of("the rows", rows, numbers, [], columns=COLUMNS, refinery=refinery(**options))


def read(path: Path, content: str | bytes) -> Events:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_events(str(path), columns=COLUMNS, refinery=refinery())


CELLS = [{"id": "a", "label": "bad"}, {"id": 7, "label": "good"}, {"id": "c"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("flows.json", json.dumps(ROWS, indent=2)),
        ("flows.json", LINES),
        ("flows.jsonl", LINES),
        ("flows.jsonl", "\ufeff" + LINES.replace("\n", "\r\n")),
        ("flows.ndjson.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("flows.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
    ],
)
def test_labels_and_ids_of_each_form_of_json_are_read(tmp_path: Path, name: str, content: str | bytes) -> None:
    found = read(tmp_path / name, content)
    assert found.rows == CELLS
    assert found.numbers == [1, 2, 3]
    assert [json.loads(each) for each in found.events] == ROWS
    assert found.examples == ROWS


def test_labels_and_ids_of_a_log_of_zeeks_are_read(tmp_path: Path) -> None:
    log = "#separator \\x09\n#fields\tid\tn\tkind\tlabel\n#types\tstring\tdouble\tset[string]\tstring\n"
    log += "a\t1.5\tx,y\tbad\nb\t-\t-\t-\n"
    found = read(tmp_path / "conn.log.gz", gzip.compress(log.encode()))
    assert found.rows == [{"id": "a", "label": "bad"}, {"id": "b"}]
    assert found.numbers == [4, 5]
    assert [json.loads(each) for each in found.events] == [
        {"id": "a", "n": 1.5, "kind": ["x", "y"], "label": "bad"}, {"id": "b"}
    ]  # fmt: skip


def test_events_of_a_named_list_are_read(tmp_path: Path) -> None:
    (tmp_path / "flows.json").write_text(json.dumps({"a": {"b": ROWS}}, indent=1))
    form = FileForm(records="a.b")
    found = read_events(str(tmp_path / "flows.json"), columns=COLUMNS, refinery=refinery(), form=form)
    assert found.rows == CELLS
    (tmp_path / "flows.jsonl").write_text(LINES)
    assert read_events(str(tmp_path / "flows.jsonl"), columns=COLUMNS, refinery=refinery(), form=form).rows == CELLS


def test_tables_are_events_too(tmp_path: Path) -> None:
    found = read(tmp_path / "flows.csv", "id,n,kind,label\na,1,x,bad\n7,,y,good\n")
    assert found.rows == [{"id": "a", "label": "bad"}, {"id": "7", "label": "good"}]
    assert found.events[1] == {"id": "7", "n": None, "kind": "y", "label": "good"}


@pytest.mark.parametrize("cell", [b"\xff", [b"x"], {"y": b"x"}])
def test_a_column_of_bytes_is_told_with_its_file_and_name(tmp_path: Path, cell: Any) -> None:
    path = tmp_path / "flows.parquet"
    parquet.write_table(pa.table({"id": ["a", "b"], "payload": [None, cell], "label": ["bad", "good"]}), path)
    words = r"flows\.parquet:2: column 'payload' holds a bytes, which is no cell of events; write it as text"
    with pytest.raises(DataError, match=words):
        read_events(str(path), columns=COLUMNS, refinery=refinery())


def test_a_blank_cell_of_a_table_is_a_label_but_no_feature(tmp_path: Path) -> None:
    found = read(tmp_path / "flows.csv", "id,n,kind,label\na,1,x,bad|slow\n7,2,,\n")
    assert found.rows[1]["label"] == ""
    assert found.events[1] == {"id": "7", "n": "2", "kind": None, "label": None}


def test_the_built_in_sample_is_read_by_its_name() -> None:
    found = read_events("jenga/network", columns=("threat", "id"), refinery=refinery())
    assert len(found.rows) == 4000
    assert found.rows[0].keys() == {"threat", "id"}


def test_bytes_are_standard_input() -> None:
    found = read_events(json.dumps(ROWS).encode(), columns=COLUMNS, refinery=refinery())
    assert (found.file, found.rows) == ("standard input", CELLS)


def test_nested_and_dotted_labels_are_found_side_by_side() -> None:
    rows = [{"labels": {"find": 1}}, {"labels.find": 2}, {"labels": [3]}, {"label": {"find": 4}}]
    assert events(rows).rows == [
        {"labels.find": 1, "labels": {"find": 1}}, {"labels.find": 2}, {"labels": [3]}, {"label": {"find": 4}},
    ]  # fmt: skip


def test_bad_lines_keep_their_number_and_reason(tmp_path: Path) -> None:
    found = read(tmp_path / "flows.jsonl", '{"id": 1}\n\n{"id": 2, "n": }\n[3]\n{"id": 4}\n{"id": 5, "n": NaN}\n')
    assert [(number, row) for number, row in zip(found.numbers, found.rows, strict=True)] == [
        (1, {"id": 1}), (5, {"id": 4}),
    ]  # fmt: skip
    assert [bad.number for bad in found.bad] == [3, 4, 6]
    assert "/n" in found.bad[0].reason
    assert found.bad[1].reason.startswith("not an object")
    assert found.bad[2].reason.startswith("nan token")
    assert found.bad[1].raw == "[3]"
    assert {bad.file for bad in found.bad} == {str(tmp_path / "flows.jsonl")}


def test_the_refinerys_policies_hold_for_reading() -> None:
    assert events([b'{"id": 1, "n": NaN}'], nan="missing").rows == [{"id": 1}]
    assert not events([b'{"id": 1, "n": NaN}']).rows


@pytest.mark.parametrize("columns", [COLUMNS, ("labels", "labels.find", "label"), ("label", "labels", "labels.find")])
def test_a_repeated_label_is_quarantined_whichever_group_of_columns_reads_it(columns: tuple[str, ...]) -> None:
    rows = [
        b'{"label": 1}',
        b'{"label": 1, "label": 2}',
        b'{"labels": [1], "labels": [2]}',
        b'{"labels": {"find": 1, "find": 2}}',
        b'{"labels": [1], "labels": [2], "n": }',
    ]
    strict = refinery(duplicates="quarantine")
    found = events_of("the rows", rows, range(11, 16), [], columns=columns, refinery=strict)
    assert (found.rows, found.numbers, found.events) == ([{"label": 1}], [11], rows[:1])
    # A row that several groups refuse is told once.
    assert [bad.number for bad in found.bad] == [12, 13, 14, 15]
    assert all(bad.reason.startswith("duplicate key at /label") for bad in found.bad[:3])


@pytest.mark.parametrize("content", ["", "\n\n", "[]"])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"flows\.json"):
        read(tmp_path / "flows.json", content)


def test_columns_of_labels_and_ids_are_those_of_all_heads() -> None:
    heads = tuple(HeadColumn("t", name, "class", (f"labels.{name}", name), None, None) for name in "ab")
    spec = SourceSpec("s", ("x",), (), (), "uid", heads, EventFields())
    assert label_columns([spec, spec]) == ("labels.a", "a", "labels.b", "b", "uid")


# ------------------------------------------------------------------------------------------------------------ features


def test_rows_that_lack_a_required_field_are_bad() -> None:
    found = refine_events(events(ROWS), fitted(required=True))
    assert found.numbers.tolist() == [1, 2]
    assert [(bad.number, bad.reason.split(" at ")[0]) for bad in found.bad] == [(3, "missing field")]


def test_a_renamed_field_is_named_with_what_it_may_be_now() -> None:
    rows = [{"m": 1, "kynd": "x"}, {"n": 2, "kynd": "y"}]
    assert refine_events(events(rows), fitted()).warnings == [
        "no event has 'kind' (did you mean 'kynd'?), which the refinery reads; missing values stand in"
    ]


def test_events_without_any_of_the_fields_are_refused() -> None:
    with pytest.raises(DataError, match=r"no column 'n' or 'kind'.*Columns found: a, b"):
        refine_events(events([{"a": 1, "b": 2}]), fitted())


def test_values_of_another_type_and_unknown_values_are_told() -> None:
    rows = [{"n": "many", "kind": "new"}, {"n": "few", "kind": "newer"}, {"n": 1, "kind": None}]
    assert refine_events(events(rows), fitted()).warnings == [
        "'n': 2 of 3 values are of another type and count as missing",
        "'kind': no value occurs in the training rows; all count as unknown",
    ]


def test_no_events_give_no_features() -> None:
    found = refine_events(events([]), fitted())
    assert found.features.shape == (0, fitted().n_features_out_)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_packed_events_out_of_proportion_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("jenga.packed.HARMLESS_BYTES", 100_000)
    content = b'{"a": 1}\n' * 200_000
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    def read() -> int:
        return len(read_events(str(tmp_path / name), columns=("id",), refinery=SecurityRefinery()).rows)

    if name.endswith(".gz"):
        with pytest.raises(DataError, match=r"a\.jsonl\.gz: its .* bytes unpack to more than 200 times as many"):
            read()
    else:
        assert read() == 200_000


# events of another kind


def wide() -> SecurityRefinery:
    fields = [{"path": name, "kind": "numeric"} for name in "abcdef"]
    # `f` is missing in many training rows, which says nothing of a row without it.
    return refinery(schema={"fields": fields}).fit([dict.fromkeys("abcde" + "f" * (at % 2), at) for at in range(40)])


def test_an_event_without_any_field_is_an_error_and_others_are_judged() -> None:
    found = refine_events(events([dict.fromkeys("abcdef", 1), {}, {"x": 1}, dict.fromkeys("abcde", 2)]), wide())
    assert found.numbers.tolist() == [1, 4]
    assert found.features.shape[0] == 2
    assert [(bad.number, bad.reason) for bad in found.bad] == [
        (2, "the event has none of the fields that the model reads"),
        (3, "the event has none of the fields that the model reads"),
    ]


@pytest.mark.parametrize(("max_missing", "kept"), [(0.5, [1, 2]), (0.2, [1]), (0.9, [1, 2, 3]), (0.0, [1])])
def test_an_event_that_lacks_too_many_of_the_usual_fields_is_an_error(max_missing: float, kept: list[int]) -> None:
    rows = [dict.fromkeys("abcde", 1), dict.fromkeys("abcf", 1), {"a": 1, "f": 1}]
    found = refine_events(events(rows), wide(), max_missing=max_missing)
    assert found.numbers.tolist() == kept
    assert all("of 5 fields that the training rows have" in bad.reason for bad in found.bad)
    assert all(f"allows a share of {max_missing:g}" in bad.reason for bad in found.bad)


def test_a_batch_of_a_session_is_not_refused_as_a_whole() -> None:
    with pytest.raises(DataError, match="the model's fields"):
        refine_events(events([{"x": 1}]), wide())
    assert [bad.number for bad in refine_events(events([{"x": 1}]), wide(), whole=False).bad] == [1]
