"""Rows before anything is read of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jenga.rows.raw import GIVEN, RAW_LENGTH, REQUEST, STANDARD_INPUT, RawRows


def test_rows_are_numbered_and_what_is_none_is_set_aside() -> None:
    raw = RawRows("f").add_all([{"a": 1}, "b", {"a": 2}])
    assert (raw.rows, raw.numbers) == ([{"a": 1}, {"a": 2}], [1, 3])
    assert [str(bad) for bad in raw.bad] == ["f:2: the row is a string, not an object with columns"]


def test_a_text_with_its_labels_as_spacy_writes_them_is_a_row() -> None:
    raw = RawRows("f").add_all([["Asha sings", {"entities": [[0, 4, "PER"]]}], ["a", "b"]])
    assert raw.rows == [{"text": "Asha sings", "entities": [[0, 4, "PER"]]}]
    assert len(raw.bad) == 1


def test_a_long_row_is_kept_by_its_beginning() -> None:
    raw = RawRows("f")
    raw.refuse(1, "too long", "x" * 9999)
    assert len(raw.bad[0].raw) == RAW_LENGTH


def test_paths_in_cells_are_relative_to_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    assert RawRows(f"{tmp_path}/rows.csv").home == tmp_path
    assert RawRows(f"{tmp_path}/*.csv", folder=str(tmp_path)).home == tmp_path
    for elsewhere in ("hf://owner/name (train)", f"{tmp_path}/none.csv"):
        assert RawRows(elsewhere).home is None


def test_only_a_callers_own_rows_are_in_hand_and_what_is_piped_in_has_its_home_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [RawRows(name).in_hand for name in (GIVEN, STANDARD_INPUT, "rows.csv")] == [True, False, False]
    assert RawRows(STANDARD_INPUT).home == tmp_path


def test_a_piece_keeps_what_the_whole_says_of_itself() -> None:
    raw = RawRows("f", [{"a": 1}, {"a": 2}], [1, 2], table=True)
    assert raw.piece(slice(1, 2), []) == RawRows("f", [{"a": 2}], [2], table=True)


def test_rows_of_a_request_are_nobodys_here_whatever_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / REQUEST).touch()
    raw = RawRows(REQUEST)
    assert (raw.remote, raw.in_hand, raw.home) == (True, False, None)
    assert not RawRows(GIVEN).remote


def test_joined_rows_follow_one_another_with_numbers_of_their_own() -> None:
    parts = [RawRows("f").add_all(rows) for rows in ([{"a": 1}, 2], [], [3, {"a": 4}], [{"a": 5}])]
    parts[2].numbers[0] = 7
    joined = RawRows.joined(parts)
    assert joined.rows == [{"a": 1}, {"a": 4}, {"a": 5}]
    assert joined.numbers == [1, 9, 10]
    assert [bad.number for bad in joined.bad] == [2, 3]
    assert parts[0].numbers == [1]
