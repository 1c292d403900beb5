"""Files and objects with columns, as chunks of them."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
import torch

from jenga.errors import DataError
from jenga.refinery import SecurityRefinery, arrow
from jenga.refinery.arrow import file_chunks, has_columns, table_chunks
from jenga.refinery.chunks import TableChunk

FRAME = pandas.DataFrame({"n": [1.5, None, 3.0], "s": ["a", None, "é,\n"], "b": [True, False, True]})


def columns(chunk: TableChunk) -> dict[str, list[Any]]:
    return {name: each if isinstance(each, list) else each.to_pylist() for name, each in chunk.columns.items()}


def test_what_has_columns_is_known_by_its_form() -> None:
    table = pyarrow.table({"a": [1]})
    for source in (FRAME, table, table.to_batches()[0], np.zeros((2, 2)), torch.zeros(2, 2), table.to_reader()):
        assert has_columns(source)
    for source in ([{"a": 1}], b"", FRAME["s"], np.array([{}], object), pyarrow.array([1]), iter([table])):
        assert not has_columns(source)


def test_missing_values_of_a_frame_are_null_whatever_their_kind() -> None:
    frame = FRAME.assign(
        mixed=[1, "x", float("nan")], when=pandas.to_datetime(["2024-01-02", None, "2024-01-03"]),
        whole=pandas.array([1, None, 3], dtype="Int64"), kind=pandas.Categorical(["u", None, "v"]),
        gone=[pandas.NA, {"a": 1}, 5],
    )  # fmt: skip
    [chunk] = table_chunks(frame)
    found = columns(chunk)
    assert found["n"] == [1.5, None, 3.0]
    assert found["mixed"] == [1, "x", None]
    assert found["gone"] == [None, {"a": 1}, 5]
    assert [found[name][1] for name in ("s", "when", "whole", "kind")] == [None] * 4
    assert found["whole"] == [1, None, 3]


def test_rows_are_numbered_on_across_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "BATCH_ROWS", 2)
    for source in (FRAME, pyarrow.Table.from_pandas(FRAME), FRAME[["n"]].to_numpy()):
        chunks = list(table_chunks(source, first=5))
        assert [chunk.numbers.tolist() for chunk in chunks] == [[5, 6], [7]]


def test_repeated_names_of_columns_are_refused(tmp_path: Path) -> None:
    doubled = pandas.DataFrame([[1, 2]], columns=["a", "a"])
    (tmp_path / "doubled.csv").write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="column 'a' is there more than once"):
        list(table_chunks(doubled))
    with pytest.raises(DataError, match="column 'a' is there more than once"):
        list(file_chunks(str(tmp_path / "doubled.csv")))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv"])
def test_csv_cells_are_text_and_only_empty_ones_missing(tmp_path: Path, suffix: str) -> None:
    text = '\ufeffa, b ,c\n1,x,""\n\n,"multi\nline, ""q""",0x1f\n1e3,NaN,NULL\n'
    text = text.replace(",", "\t").replace('line\t ""q', 'line\t ""q') if suffix == ".tsv" else text
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    [chunk] = file_chunks(str(path))
    assert not chunk.typed
    found = columns(chunk)
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == ["1", None, "1e3"]
    assert found["c"] == ["", "0x1f", "NULL"]
    assert found["b"][1].startswith("multi\nline")


def test_csv_rows_of_another_width_are_refused_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1\n1,2\n1,2,3\n3,4\n5,6\n7\n8\n")
    chunks = list(file_chunks(str(path)))
    assert [number for chunk in chunks for number in chunk.numbers.tolist()] == [2, 4, 5]
    refused = [each for chunk in chunks for each in chunk.refused]
    assert [(each.number, each.head, each.code) for each in refused] == [
        (1, b"1", "syntax"), (3, b"1,2,3", "syntax"), (6, b"7", "syntax"), (7, b"8", "syntax"),
    ]  # fmt: skip


def test_parquet_rows_come_batch_by_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"n": list(range(10))}), path)
    monkeypatch.setattr(arrow, "BATCH_ROWS", 4)
    chunks = list(file_chunks(str(path)))
    assert [chunk.numbers.tolist() for chunk in chunks] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert [value for chunk in chunks for value in columns(chunk)["n"]] == list(range(10))


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("a.parquet", lambda path: path.write_bytes(b"PAR1 and nothing"), "not a whole Parquet file"),
        ("a.csv", lambda path: path.write_bytes(b""), "cannot be read as CSV"),
        ("a.csv", lambda path: path.write_bytes(b"a,b\n\xff,1\n"), "cannot be read as CSV"),
        ("a.csv.gz", lambda path: path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 99)[:-9]), "cannot be read as CSV"),
        ("a.csv", lambda path: None, "no such file"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, name: str, write: Callable[[Path], Any], words: str
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError, match=rf"{name}: .*{words}"):
        list(file_chunks(str(path)))


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_table_in_a_named_pipe_is_refused_unread(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: this is a named pipe, and tables are read from files alone"):
        file_chunks(str(tmp_path / name))


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("packed", [False, True])
def test_cells_are_parted_by_what_the_header_has(tmp_path: Path, mark: str, packed: bool) -> None:
    content = f"n{mark}m{mark}o\n1{mark}2,5{mark}x\n".encode()
    path = tmp_path / ("rows.csv.gz" if packed else "rows.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    [chunk] = file_chunks(str(path))
    assert columns(chunk) == {"n": ["1"], "m": ["2,5"], "o": ["x"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [("n,m\n1,2\n".encode("utf-16"), "the file is UTF-16; convert it with"), (b"caf\xe9,m\n1,2\n", "not UTF-8")],
)
def test_a_table_that_is_not_utf_8_is_explained(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"a.csv: .*{words}"):
        list(file_chunks(str(tmp_path / "a.csv")))


def test_columns_of_one_name_are_one_where_all_their_cells_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,m, n\n1,2,1\n,3,\n")
    [chunk] = file_chunks(str(tmp_path / "a.csv"))
    assert columns(chunk) == {"n": ["1", None], "m": ["2", "3"]}
    (tmp_path / "a.csv").write_text("n,m,n\n1,2,1\n1,3,2\n")
    with pytest.raises(DataError, match="column 'n' is there more than once"):
        list(file_chunks(str(tmp_path / "a.csv")))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_rows_of_another_width_are_told_by_their_lines(tmp_path: Path, name: str) -> None:
    content = b'a;b;c\n1;2;3\n\n4;"x\ny";6\n7;8\n9;9;9\n1;2;3;4\n'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    schema = {"fields": [{"path": "a", "kind": "numeric", "required": True}]}
    refinery = SecurityRefinery(schema=schema, max_bad_fraction=1.0).fit(str(tmp_path / name))
    assert [(each.number, each.line) for each in refinery.quarantine_] == [(3, 6), (5, 8)]
    assert [str(each).removeprefix(str(tmp_path)) for each in refinery.quarantine_] == [
        f"/{name}:6: syntax", f"/{name}:8: syntax"
    ]  # fmt: skip
    assert refinery.n_rows_seen_ == 3
