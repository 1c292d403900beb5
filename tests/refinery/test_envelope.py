"""Rows in a list inside one object."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.refinery import SecurityRefinery
from jenga.refinery.envelope import may_be_envelope

ROWS: list[dict[str, Any]] = [{"n": at, "name": f"\u00e9{at}", "userIdentity": {"type": "Root"}} for at in range(30)]
ENVELOPES: dict[str, Any] = {
    "cloudtrail": {"Records": ROWS},
    "azure": {"count": 30, "value": ROWS},
    "elasticsearch": {
        "took": 3, "timed_out": False, "_shards": {"total": 1},
        "hits": {"total": {"value": 30}, "hits": [{"_index": "logs", "_id": "x", "_source": row} for row in ROWS]},
    },
}  # fmt: skip
SCHEMA = {"fields": [{"path": "n", "kind": "numeric", "scale": "none"}, {"path": "userIdentity.type", "kind": "text"}]}


@pytest.mark.parametrize("name", ENVELOPES)
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("chunk_bytes", [128, 8 << 20])
def test_rows_of_an_envelope_are_found(name: str, indent: int | None, chunk_bytes: int, tmp_path: Path) -> None:
    content = json.dumps(ENVELOPES[name], indent=indent, ensure_ascii=False).encode() + b"\n"
    (tmp_path / "log.json").write_bytes(content)
    (tmp_path / "log.json.gz").write_bytes(gzip.compress(content))
    refinery = SecurityRefinery(schema=SCHEMA, chunk_bytes=chunk_bytes)
    for source in (content, str(tmp_path / "log.json"), str(tmp_path / "log.json.gz")):
        assert refinery.fit(source).raw(source).values("n") == [row["n"] for row in ROWS]


@pytest.mark.parametrize("chunk_bytes", [64, 8 << 20])
def test_rows_of_a_list_by_any_name_are_read_once_it_is_named(chunk_bytes: int, tmp_path: Path) -> None:
    content = json.dumps(
        {"meta": {"n": 1}, "answer": {"pages": [{"items": ROWS[:20]}, {"items": ROWS[20:]}]}}, indent=1
    )
    (tmp_path / "log.json.gz").write_bytes(gzip.compress(content.encode()))
    refinery = SecurityRefinery(schema=SCHEMA, chunk_bytes=chunk_bytes, records="answer.pages[*].items")
    for source in (content.encode(), str(tmp_path / "log.json.gz"), json.dumps(ROWS).encode()):
        assert refinery.fit(source).raw(source).values("n") == [row["n"] for row in ROWS]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": {"b": 1}, "c\\u001b": []}', r"records: there is no list at 'a\.b'; the document has a, c\\x1b"),
        (b'{"c": 1}', "records: there is no list at 'a.b'; the document has c"),
        (b'{"a": 1}\n{"a": 2}', r"is no single JSON object \(Extra data.*records \('a\.b'\) could name"),
    ],
)
def test_a_list_that_is_not_there_is_refused_with_what_is(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        SecurityRefinery(schema=SCHEMA, records="a.b").fit(content)


def test_inference_reads_the_rows_and_not_the_envelope() -> None:
    schema = SecurityRefinery().fit(json.dumps(ENVELOPES["cloudtrail"]).encode()).schema_
    assert "n" in {field.path for field in schema.fields}


@pytest.mark.parametrize(
    "content",
    [
        b'{"Records": [{"n": 1}]}\n{"Records": [{"n": 2}]}',
        b'{"n": 1, "events": [1, 2]}',
        b'{"n": 1, "events": []}',
        b'{"n": 1, "a": 1, "b": 1, "c": 1, "d": 1, "events": [{"n": 5}]}',
        b'{"n": 1, "answers": [{"n": 5}]}',
    ],
)
def test_events_that_hold_lists_stay_events(content: bytes) -> None:
    refinery = SecurityRefinery(schema={"fields": [{"path": "n", "kind": "numeric"}]}).fit([{"n": 1}])
    rows = content.splitlines()
    assert refinery.raw(content).values("n") == refinery.raw(rows).values("n")


def test_only_the_names_of_lists_make_a_reader_look_further() -> None:
    assert may_be_envelope(b'{"Records": [')
    assert not may_be_envelope(b'{"ts": 1, "uid": "x"')
    assert not may_be_envelope(b'{"value": 1}\n{"value": 2}')
