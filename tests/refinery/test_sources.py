"""Every source of the same rows gives the same rows."""

import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest

from jenga.refinery import sources
from jenga.refinery.chunks import RowChunk, TableChunk
from jenga.refinery.sources import chunks_of, table_suffix

ROWS = [{"a": at, "s": f"é{at}", "id": {"h": at % 3}} for at in range(50)]
TEXT = [json.dumps(row, ensure_ascii=False) for row in ROWS]


def rows_of(source: Any, **options: Any) -> list[tuple[int, dict[str, Any]]]:
    """Return (number, row) of every row of `source`."""
    found = []
    for chunk in chunks_of(source, **{"chunk_bytes": 100, **options}):
        if isinstance(chunk, RowChunk):
            found += [(int(number), json.loads(chunk.row(at))) for at, number in enumerate(chunk.numbers)]
        else:
            columns = [each if isinstance(each, list) else each.to_pylist() for each in chunk.columns.values()]
            rows = [dict(zip(chunk.columns, values, strict=True)) for values in zip(*columns, strict=True)]
            found += list(zip(chunk.numbers.tolist(), rows, strict=True))
    return found


EXPECTED = list(enumerate(ROWS, start=1))


@pytest.fixture(params=["lines", "array", "gzip", "zstd", "crlf"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same rows in a file of every form."""
    lines = "\n".join(TEXT).encode()
    content = {
        "lines": lines, "array": json.dumps(ROWS, indent=1).encode(), "gzip": gzip.compress(lines, mtime=0),
        "zstd": pyarrow.compress(lines, codec="zstd", asbytes=True), "crlf": "\r\n".join(TEXT).encode() + b"\r\n",
    }  # fmt: skip
    file = tmp_path / "rows.json"
    file.write_bytes(content[request.param])
    return file


def test_files_of_every_form_give_the_same_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows_of(path) == rows_of(str(path)) == rows_of(path.read_bytes()) == EXPECTED
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO(path.read_bytes())}))
    assert rows_of("-") == EXPECTED


@pytest.mark.parametrize(
    "make",
    [
        lambda: ROWS, lambda: TEXT, lambda: [text.encode() for text in TEXT], lambda: iter(ROWS), lambda: tuple(TEXT),
        lambda: (row if at % 2 else TEXT[at] for at, row in enumerate(ROWS)), lambda: pandas.Series(TEXT),
        lambda: io.BytesIO("\n".join(TEXT).encode()),
    ],
)  # fmt: skip
def test_lists_and_iterators_give_the_same_rows(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows_of(make()) == EXPECTED
    monkeypatch.setattr(sources, "ROW_BATCH", 7)
    assert rows_of(make()) == EXPECTED


def batches() -> Iterator[pyarrow.RecordBatch]:
    yield from pyarrow.Table.from_pylist(ROWS).to_batches(max_chunksize=7)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pandas.DataFrame(ROWS), lambda: pyarrow.Table.from_pylist(ROWS), batches, lambda: list(batches()),
        lambda: pyarrow.RecordBatchReader.from_batches(next(batches()).schema, batches()),
    ],
)  # fmt: skip
def test_tables_give_the_same_rows(make: Callable[[], Any]) -> None:
    assert rows_of(make()) == EXPECTED


def test_arrays_have_named_columns() -> None:
    array = np.arange(6).reshape(3, 2)
    assert rows_of(array)[0] == (1, {"x0": 0, "x1": 1})
    assert rows_of(array, names=["p", "q"])[2] == (3, {"p": 4, "q": 5})


def test_blank_rows_of_a_list_are_counted_and_keep_their_place() -> None:
    [chunk] = chunks_of([b" ", b'{"a": 1}', "", b" \t{}", {"b": 2}], chunk_bytes=100)
    assert isinstance(chunk, RowChunk)
    assert (chunk.numbers.tolist(), chunk.n_blank, chunk.byte_offset) == ([2, 4, 5], 2, None)
    assert [chunk.row(at).strip() for at in range(3)] == [b'{"a": 1}', b"{}", b'{"b":2}']


def test_row_of_a_list_that_is_too_long_is_refused() -> None:
    [chunk] = chunks_of([{"a": "x" * 50}, {"b": 1}], chunk_bytes=100, max_row_bytes=20)
    assert [(each.number, each.code) for each in chunk.refused] == [(1, "row_too_long")]
    assert chunk.numbers.tolist() == [2]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"a": 1}, r"give a list of rows: \[row\]"), (7, "X is of type int; give a path"),
        ([{"a": 1}, 7], "row 2 is of type int; rows are bytes, str or dict"),
        ([{}] * 8200 + [{"a": b"x"}], "row 8201: holds a bytes; allowed: None, bool, int, float, Decimal"),
        ([Path("a.jsonl")], "row 1 is of type PosixPath"),
    ],
)  # fmt: skip
def test_other_types_are_refused_with_what_is_allowed(source: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        rows_of(source)


def test_suffixes_of_tables_are_seen_through_compression() -> None:
    assert [table_suffix(name) for name in ("a.CSV", "b.tsv.gz", "c.parquet", "d.jsonl.gz", "csv")] == [
        ".csv", ".tsv", ".parquet", "", "",
    ]  # fmt: skip


def test_no_rows_are_no_chunk_with_rows(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    for source in ([], iter([]), b"", b"\n \n", tmp_path / "empty.jsonl", pandas.DataFrame({"a": []})):
        assert rows_of(source) == []
    assert not any(isinstance(chunk, TableChunk) for chunk in chunks_of([], chunk_bytes=1))


def test_decimals_are_numbers_and_arrays_are_lists() -> None:
    values = [Decimal("1.50"), Decimal("-1E+3"), Decimal("NaN"), Decimal("-Infinity"), np.array([1, 2]), np.array(3)]
    [chunk] = chunks_of([{"a": value} for value in values], chunk_bytes=1000)
    assert isinstance(chunk, RowChunk)
    wanted = [b"1.50", b"-1E+3", b"NaN", b"-Infinity", b"[1,2]", b"3"]
    assert [chunk.row(at) for at in range(6)] == [b'{"a":' + each + b"}" for each in wanted]
