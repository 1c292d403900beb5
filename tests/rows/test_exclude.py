import json
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.rows.content import Cells
from jenga.rows.exclude import Excluded
from jenga.rows.parse import Rows


def written(tmp_path: Path, *lines: Any) -> str:
    path = tmp_path / "audit.jsonl"
    path.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines))
    return str(path)


def splits() -> dict[str, Rows]:
    def rows(file: str) -> Rows:
        return Rows(["a", "b", "c"], [file] * 3, [1, 2, 3], Cells({"x": [1, 2, 3]}))

    return {"train": rows("t"), "valid": rows("v")}


def test_named_rows_leave_every_part_and_are_told(tmp_path: Path) -> None:
    found = splits()
    named = [{"file": "t", "row": 2}, {"file": "t", "row": 2}, {"file": "v", "row": 1}, {"file": "v", "row": 9}]
    excluded = Excluded(written(tmp_path, *named, {"file": None, "row": None}), {})
    excluded.take_out(found, "calls")
    assert {name: rows.numbers for name, rows in found.items()} == {"train": [1, 3], "valid": [2, 3]}
    assert found["train"].content == Cells({"x": [1, 3]})
    (words,) = excluded.told()
    assert words == (
        "data.exclude: 1 train, 1 valid rows are left out, as audit.jsonl says; 1 others that it names are no rows of "
        "this experiment"
    )


def test_without_a_list_nothing_is_left_out_and_nothing_told() -> None:
    found, excluded = splits(), Excluded(None, {})
    excluded.take_out(found, "calls")
    assert [len(rows) for rows in found.values()] == [3, 3]
    assert excluded.told() == []


def test_an_empty_list_is_told_of(tmp_path: Path) -> None:
    excluded = Excluded(written(tmp_path), {})
    excluded.take_out(splits(), "calls")
    assert excluded.told() == ["data.exclude: no rows are left out, as audit.jsonl says"]


def test_a_list_of_all_training_rows_is_refused(tmp_path: Path) -> None:
    excluded = Excluded(written(tmp_path, *({"file": "t", "row": row} for row in (1, 2, 3))), {})
    with pytest.raises(DataError, match="names all training rows of 'calls'"):
        excluded.take_out(splits(), "calls")


def test_texts_with_other_ends_of_lines_and_a_mark_at_the_start_are_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    line = json.dumps({"file": "t", "row": 2, "text": "one\u2028two\x85three"}, ensure_ascii=False)
    path.write_text(f"\ufeff{line}\n", encoding="utf-8")
    found = splits()
    Excluded(str(path), {}).take_out(found, "calls")
    assert found["train"].numbers == [1, 3]


def test_a_list_of_other_files_is_refused(tmp_path: Path) -> None:
    excluded = Excluded(written(tmp_path, {"file": "elsewhere", "row": 4}), {})
    excluded.take_out(splits(), "calls")
    with pytest.raises(DataError, match=r"none of this experiment's, such as elsewhere:4"):
        excluded.told()


def left_out(tmp_path: Path, line: dict[str, Any]) -> list[str]:
    found = splits()
    excluded = Excluded(written(tmp_path, {"file": "t", "row": 2, **line}), {"t": "now", "v": "now"})
    excluded.take_out(found, "calls")
    assert found["train"].numbers == [1, 3]
    return excluded.told()[1:]


@pytest.mark.parametrize(
    "line",
    [
        {}, {"id": "b"}, {"id": "b", "rows_sha256": "then"}, {"id": "z", "rows_sha256": "now"}, {"id": None}, {"id": 2},
        {"id": "2", "rows_sha256": "now"}, {"id": "2"},
    ],
)  # fmt: skip
def test_rows_that_are_those_that_were_meant_or_cannot_be_told_are_left_out(
    tmp_path: Path, line: dict[str, Any]
) -> None:
    assert left_out(tmp_path, line) == []


@pytest.mark.parametrize("line", [{"id": "z"}, {"id": "z", "rows_sha256": "then"}])
def test_a_row_with_another_id_is_refused(tmp_path: Path, line: dict[str, Any]) -> None:
    words = r"names t:2 as the row 'z', and that is 'b' now: the file has changed since\. Audit again"
    with pytest.raises(DataError, match=words):
        left_out(tmp_path, line)


@pytest.mark.parametrize("line", [{"rows_sha256": "then"}, {"id": "2", "rows_sha256": "then"}])
def test_rows_without_ids_of_a_file_that_has_changed_are_warned_of(tmp_path: Path, line: dict[str, Any]) -> None:
    (words,) = left_out(tmp_path, line)
    assert words.startswith("data.exclude: t has changed since")
    assert "its rows have no ids: other rows than were meant may be left out. Audit again" in words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "1: no JSON"), ("[" * 100_000, "1: no JSON"), ("[1]", "got \\[1\\]"), ({"row": 3}, "got"),
        ({"file": "t", "row": "3"}, "row '3'"),
        ({"file": "t", "row": True}, "row True"), ({"file": 3, "row": 3}, "file 3"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_rows_is_refused_with_its_line(tmp_path: Path, line: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Excluded(written(tmp_path, line), {})


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Excluded(str(tmp_path / "none.jsonl"), {})
