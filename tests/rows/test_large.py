"""Files of rows that are read anew in each pass."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jenga.errors import DataError
from jenga.labels.cells import Repeated
from jenga.rows import large as module
from jenga.rows.large import LargeRows, Watched, repeated_ids
from jenga.rows.raw import RawRows
from jenga.rows.read_once import ReadOnce
from jenga.rows.readers import read_rows

WATCHED = Watched(("id",), ("label", "labels.a", "score"))
LINES = [
    '{"id": "a", "text": "x\\u2028y", "label": 1}', "", '{"text": "z", "label": true, "labels": {"a": "q"}}',
    '["as spaCy has it", {"label": 1.0}]', "{broken", "3", ' {"id": "a", "text": "later", "label": "1", "new": null} ',
    '{"text": "twice"} {"text": "in a line"}', '{"id": 7, "text": "end", "label": NaN}',
]  # fmt: skip


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE_BYTES", 0)


def both(path: str, **options: Any) -> tuple[LargeRows, RawRows]:
    found, held = read_rows(path, watched=WATCHED, **options), read_rows(path, **options)
    assert isinstance(found, LargeRows)
    return found, held


def assert_same(found: LargeRows, held: RawRows) -> None:
    # Text, since NaN is no equal of itself.
    for _ in range(2):
        assert str(list(found.rows)) == str(held.rows)
    pieces = list(found.pieces(2))
    assert [number for piece in pieces for number in piece.numbers] == list(found.numbers) == list(held.numbers)
    assert str([row for piece in pieces for row in piece.rows]) == str(held.rows)
    assert (found.bad, found.told, found.table, found.folder) == (held.bad, held.told, held.table, held.folder)
    assert len(found.rows) == len(held.rows)
    assert str(found.rows[1:3]) == str(held.rows[1:3])
    assert str(found.rows[-1]) == str(held.rows[-1])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines_are_read_as_those_that_are_held(tmp_path: Path, end: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + end.join(LINES).encode())
    assert_same(*both(str(path)))
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt", newline="") as file:
        file.write(end.join(LINES))
    assert_same(*both(str(tmp_path / "rows.jsonl.gz")))


def test_tables_are_read_as_those_that_are_held(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id;text;label\n1;"two\nlines";a\n\n2;one cell too many;b;c\n3;"x ""quoted""";NA\n4;"a"b;x\n')
    assert_same(*both(str(path)))
    path.write_text("sep=|\nid|text\n1|a,b\n2|c,d\n")
    assert_same(*both(str(path)))


def test_lines_of_text_and_parquet_are_read_as_those_that_are_held(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("one\n\ntwo \n three\n")
    assert_same(*both(str(tmp_path / "rows.txt")))
    pd.DataFrame({"text": ["a", "b", "c"], "label": [0, 1, 0]}).to_parquet(tmp_path / "rows.parquet")
    assert_same(*both(str(tmp_path / "rows.parquet")))


def test_several_files_are_numbered_as_those_that_are_held(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(LINES))
    assert_same(*both(f"{tmp_path}/*.jsonl"))
    assert_same(*both(str(tmp_path)))


@pytest.mark.parametrize("name", ["rows.json", "conll.txt", "lines.csv", "zeek.jsonl"])
def test_what_cannot_be_read_row_by_row_is_held(tmp_path: Path, name: str) -> None:
    contents = {
        "rows.json": '[{"text": "a"}]', "conll.txt": "EU B-ORG\nrejects O\n\nPeter B-PER\n" * 3,
        "lines.csv": "text\ra\rb",
        "zeek.jsonl": "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
        "#fields\tuid\n#types\tstring\nC1\n",
    }  # fmt: skip
    (tmp_path / name).write_text(contents[name], newline="")
    found = read_rows(str(tmp_path / name), watched=WATCHED)
    assert type(found) is RawRows
    assert found.rows == read_rows(str(tmp_path / name)).rows


def test_columns_that_no_row_has_are_known_without_a_pass(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(LINES))
    found, _ = both(str(path))
    rows: Any = found.rows
    assert [rows.may_have(name) for name in ("text", "new", "labels.a", "labels.b", "tags", "tags.a")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip


def test_labels_are_counted_and_shared_ids_found_in_the_first_pass(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(LINES))
    found, held = both(str(path))
    cells = found.tallies["label"].cells()
    assert isinstance(cells, Repeated)
    wanted = [row["label"] for row in held.rows if "label" in row and row["label"] == row["label"]]
    assert Counter(map(repr, cells)) == Counter(map(repr, wanted)) == {"1": 1, "True": 1, "1.0": 1, "'1'": 1}
    assert repeated_ids([found], "id") == repeated_ids([held], "id") == (2, {"a"})
    assert repeated_ids([found, held], "id") == (6, {"a", "7"})
    assert repeated_ids([found], "text") == repeated_ids([held], "text") == (0, set())


def test_labels_that_are_many_or_lists_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jenga.labels.cells.Tally.MOST", 3)
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"label": at, "score": [at]}) for at in range(5)))
    found, _ = both(str(path))
    assert found.tallies["label"].cells() is None
    assert found.tallies["score"].cells() is None


def test_a_file_that_is_written_to_meanwhile_stops_the_pass(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(LINES))
    found, _ = both(str(path))
    with path.open("a") as file:
        file.write('\n{"text": "more"}\n')
    with pytest.raises(DataError, match="was written to while it was read"):
        list(found.rows)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        list(found.rows)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.jsonl", b'{"text": "a"}\n{"text": "caf\xe9"}\n', "rows.jsonl:2: the file is not UTF-8"),
        ("rows.csv", b'text,label\n"a,b\n', "rows.csv:2: a quote that opens in this line is never closed"),
        ("rows.jsonl", b'[\n {"text": 1}]', "one JSON list"),
        ("rows.jsonl", b" \n", "is empty"),
        ("rows.jsonl.gz", b"\x1f\x8b\x08\x00cut", "gzip data is damaged"),
    ],
)
def test_what_is_wrong_is_told_as_of_files_that_are_held(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    told = []
    for watched in (WATCHED, None):
        with pytest.raises(DataError, match=words) as error:
            read_rows(str(tmp_path / name), watched=watched)
        told.append(str(error.value))
    assert told[0] == told[1]


def test_a_missing_file_is_told_as_of_files_that_are_held(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_rows(str(tmp_path / "none.jsonl"), watched=WATCHED)


def test_the_same_rows_are_one_file_whether_they_are_held_or_not(tmp_path: Path, monkeypatch: Any) -> None:
    rows = [{"text": f"{at} " + "x" * 200} for at in range(50)]
    (tmp_path / "large.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "spaced.jsonl").write_text("\n".join(json.dumps(row, separators=(" , ", " : ")) for row in rows))
    with gzip.open(tmp_path / "small.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    (tmp_path / "other.jsonl").write_text("".join(json.dumps({**row, "more": 1}) + "\n" for row in rows))
    monkeypatch.setattr(module, "LARGE_BYTES", 5000)
    files = ReadOnce(lambda path, *, split: read_rows(path, split=split, watched=WATCHED))
    found = [files(str(tmp_path / name), split="train") for name in ("large.jsonl", "spaced.jsonl", "small.jsonl.gz")]
    assert isinstance(found[0], LargeRows)
    assert found[0] is found[1] is found[2]
    assert files(str(tmp_path / "other.jsonl"), split="train") is not found[0]


def test_a_table_of_long_cells_shows_what_parts_them(tmp_path: Path) -> None:
    cell = "long, long\n" * 15
    lines = "".join(f'a{at};"{cell}"\n' for at in range(100))
    (tmp_path / "rows.csv").write_text(f"label;text\n{lines}")
    assert_same(*both(str(tmp_path / "rows.csv")))


def test_a_table_with_a_lone_carriage_return_is_held(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "a,b\n" * 1100 + 'x,"c\rd"\nlast,row\n', newline="")
    assert type(read_rows(str(path), watched=WATCHED)) is RawRows


def test_a_file_that_begins_with_many_blank_lines_is_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n" * 1500 + '{"text": "a"}\n')
    assert_same(*both(str(tmp_path / "rows.jsonl")))


def test_bytes_of_rows_that_are_not_held_are_not_spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pd.DataFrame({"text": ["a", "b"], "picture": [b"x" * 1000, b"y" * 1000]}).to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr("jenga.rows.readers.spooled", lambda rows: pytest.fail("spooled"))
    assert [row["text"] for row in read_rows(str(tmp_path / "rows.parquet"), watched=WATCHED).rows] == ["a", "b"]


def test_the_same_bytes_packed_or_not_have_one_digest(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text("\n".join(LINES))
    with gzip.open(tmp_path / "two.jsonl.gz", "wt") as file:
        file.write("\n".join(LINES))
    one, two = (both(str(tmp_path / name))[0] for name in ("one.jsonl", "two.jsonl.gz"))
    assert one.digest == two.digest is not None
