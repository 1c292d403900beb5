import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from jenga.errors import DataError
from jenga.inference.parts import Part, as_file, digest_of, files_of, in_place, parts_of
from jenga.rows.raw import RawRows
from jenga.rows.readers import read_rows


def whole(path: Path, rows: int) -> list[RawRows]:
    """Return the rows of each part of a file, in the place that they have in it."""
    found = []
    for part in parts_of(str(path), rows):
        with as_file(part) as name:
            found.append(in_place(read_rows(name), part))
    return found


def test_parts_of_lines_hold_every_row_once_by_its_line(tmp_path: Path) -> None:
    lines = ['{"id": 0}', "", '{"id": 2}', "{broken", "   ", '{"id": 5}', "7", '{"id": 7}', "", '{"id": 9}']
    path = tmp_path / "rows.jsonl"
    for end in ("", "\n", "\n\n"):
        path.write_text("\n".join(lines) + end)
        one = read_rows(str(path))
        for size in (1, 2, 3, 5, 100):
            found = whole(path, size)
            assert [row for part in found for row in part.rows] == one.rows
            assert [number for part in found for number in part.numbers] == one.numbers == [1, 3, 6, 8, 10]
            assert [bad for part in found for bad in part.bad] == one.bad
            assert {len(part.rows) + len(part.bad) for part in found[:-1]} <= {size}
            assert {part.file for part in found} == {str(path)}


@pytest.mark.parametrize("size", [1, 3, 4, 7, 100])
def test_parts_of_parquet_reach_over_row_groups(tmp_path: Path, size: int) -> None:
    rows = [{"id": f"r{at}", "n": at} for at in range(10)]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=4)
    found = whole(path, size)
    assert [row for part in found for row in part.rows] == rows
    assert [number for part in found for number in part.numbers] == list(range(1, 11))


def test_files_are_found_by_patterns_in_their_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.parquet"):
        (tmp_path / name).write_text(json.dumps({"id": name}))
    paths = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl", "c.parquet")]
    assert files_of([paths[2], f"{tmp_path}/*.jsonl"]) == [paths[2], *paths[:2]]
    assert files_of(paths[0]) == paths[:1]
    assert digest_of(paths[0]) != digest_of(paths[1])
    assert Part(paths[0], 0, 9, 4096).place == f"{paths[0]}, from row 4,097 on"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rows.jsonl.gz", "cannot be read in parts; allowed: .jsonl, .ndjson, .parquet files"),
        ("rows.csv", "cannot be read in parts"),
        ("s3://bucket/rows.jsonl", "cannot be read in parts"),
        ("row.jsonl", "no such file; did you mean 'rows.jsonl'"),
        ("x*.jsonl", "no file matches the pattern"),
    ],
)
def test_files_that_cannot_be_cut_are_told(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    with pytest.raises(DataError, match=words):
        files_of(name if "://" in name else str(tmp_path / name))
