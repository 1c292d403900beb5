"""What is kept of bad rows, and when there are too many."""

import json
from pathlib import Path

import numpy as np
import pytest

from jenga.errors import DataError
from jenga.refinery.chunks import Refused, TableChunk
from jenga.refinery.plan import extraction_plan
from jenga.refinery.quarantine import (
    BadRowLimit,
    QuarantineRecord,
    TooManyBadRowsError,
    pointer_of,
    quarantine_file,
    records_of,
    table_records,
)
from jenga.refinery.sources import chunks_of

PLAN = extraction_plan(["a"]).plan


def record(number: int, code: str = "syntax", pointer: str = "") -> QuarantineRecord:
    return QuarantineRecord(number, 10, code, pointer, b"{", "f.jsonl")


def test_record_tells_code_pointer_and_place_in_the_file() -> None:
    content = b'{"a": 1}\n{"x": [{"y/z": tru}]}\n' + b"9" * 600
    [chunk] = chunks_of(content, chunk_bytes=10_000, max_row_bytes=500)
    [bad, long] = records_of(chunk, np.array([[1, 8, 24]]), PLAN, redact=False)  # type: ignore[arg-type]
    assert (bad.number, bad.byte_offset, bad.code, bad.pointer) == (2, 24, "bad_literal", "/x/0/y~1z")
    assert bad.raw == b'{"x": [{"y/z": tru}]}'
    assert (long.number, long.code, long.byte_offset, long.raw) == (3, "row_too_long", 31, b"9" * 500)
    assert str(bad) == "row 2: bad literal at /x/0/y~1z (byte 24)"


def test_byte_of_a_row_that_was_given_alone_is_counted_in_the_row() -> None:
    [chunk] = chunks_of([b'{"a": 1}', b'{"a": tru}'], chunk_bytes=10_000)
    begin = int(chunk.row_offsets[1, 0])  # type: ignore[union-attr]
    [bad] = records_of(chunk, np.array([[1, 8, begin + 6]]), PLAN, redact=True)  # type: ignore[arg-type]
    assert (bad.byte_offset, bad.raw, bad.file) == (6, None, "")


def test_records_of_columns_are_in_the_order_of_rows() -> None:
    chunk = TableChunk({}, np.array([2, 3, 5]), "t.csv", refused=[Refused(4, 0, b"1,2", "syntax")])
    found = table_records(chunk, [(2, "a.b"), (0, "c/d")], redact=False)
    assert [(each.number, each.code, each.pointer, each.raw) for each in found] == [
        (2, "missing_field", "/c~1d", None), (4, "syntax", "", b"1,2"), (5, "missing_field", "/a.b", None),
    ]  # fmt: skip
    assert pointer_of("a~b") == "/a~0b"


def test_file_holds_a_line_of_json_for_each_record(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    with quarantine_file(path) as write:
        write([QuarantineRecord(1, 2, "invalid_utf8", "", b'{"\xff"}', "f"), record(2)])
        write([QuarantineRecord(3, 2, "syntax", "", None, "f")])
        assert not path.exists()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {
        "number": 1, "byte_offset": 2, "code": "invalid_utf8", "pointer": "", "raw": '{"\\xff"}', "file": "f",
    }  # fmt: skip
    assert [line["raw"] for line in lines[1:]] == ["{", None]
    with quarantine_file(None) as write:
        write([record(1)])


def test_file_is_kept_where_too_many_rows_are_bad_with_those_that_were_too_many(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    limit = BadRowLimit(0.0)

    def call() -> None:
        with quarantine_file(path) as write:
            write([record(1)])
            limit.add(999, [record(2)])

    with pytest.raises(TooManyBadRowsError, match="1 of 1,000 rows are bad"):
        call()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2]


def test_hint_stands_for_what_to_mend_and_one_row_is_one() -> None:
    limit = BadRowLimit(0.5)
    limit.add(0, [record(1, "missing_field", "/a")])
    limit.hint = "Look there"
    with pytest.raises(
        TooManyBadRowsError, match=r"^1 of 1 row is bad(.|\n)*'a' is missing in 1 row;(.|\n)*\nLook there$"
    ):
        limit.judge()
    with pytest.raises(DataError, match=r"^there is no row to fit on: the only row is bad(.|\n)*\nLook there$"):
        limit.refuse_all()
    with pytest.raises(DataError, match=r"^there is no row to fit on$"):
        BadRowLimit(0.5).refuse_all()


def test_limit_is_judged_by_the_share_and_names_what_to_mend() -> None:
    limit = BadRowLimit(0.5)
    limit.add(2, [record(1), record(2, "missing_field", "/a~1b")])
    limit.judge()
    limit.add(0, [record(3), record(4), record(5, "missing_field", "/a~1b")])
    with pytest.raises(DataError) as error:
        limit.judge()
    assert str(error.value).splitlines() == [
        "5 of 7 rows are bad, more than max_bad_fraction=0.5 allows",
        "  f.jsonl:1: syntax (byte 10)",
        "  f.jsonl:2: missing field at /a~1b (byte 10)",
        "  f.jsonl:3: syntax (byte 10)",
        "  and 2 more",
        "The required field 'a/b' is missing in 2 rows; set required: false if it may be",
        "Mend the rows, or raise max_bad_fraction (0 to 1)",
    ]
    with pytest.raises(DataError, match=r"rows are bad"):
        BadRowLimit(0.0).add(999, [record(1)])
    BadRowLimit(0.0).add(998, [record(1)])
    BadRowLimit(0.0).judge()


def test_keys_of_a_bad_row_are_shown_on_one_line_without_escape_sequences() -> None:
    record = QuarantineRecord(1, 3, "nan_token", "/a\x1b[31m\nrow 2: fine", None, "")
    assert str(record) == "row 1: nan token at /a\\x1b[31m\\nrow 2: fine (byte 3)"


def test_bad_rows_without_a_record_count() -> None:
    limit = BadRowLimit(0.5)
    limit.add(1, [record(1)], n_more=2)
    assert (limit.n_rows, limit.n_bad) == (4, 3)
    with pytest.raises(TooManyBadRowsError, match=r"3 of 4 rows are bad(.|\n)*and 2 more"):
        limit.judge()
