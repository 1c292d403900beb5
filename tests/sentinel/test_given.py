"""A list of another run's rows."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import guarded
import pytest

from jenga.errors import DataError
from jenga.sentinel.given import check_left, given_entries
from jenga.sentinel.ledger import Entry, write_entries

ENTRY = Entry("r1", "calls", "task", "first", "label_error", 0.1, "why", 30, 30, "quarantined", "a", "b")
ROW = replace(ENTRY, id="r2", task=None, head=None)


def given(folder: Path, *entries: Entry, source: Any = None) -> list[Entry]:
    write_entries(folder / "rows.jsonl", entries)
    return given_entries(folder / "rows.jsonl", {"calls": source or guarded.make_source()})


def test_entries_of_these_rows_hold_from_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    restored = replace(ENTRY, id="r3", state="restored")
    assert given(tmp_path, ENTRY, ROW, restored) == [replace(each, since=0) for each in (ENTRY, ROW, restored)]
    assert given(tmp_path) == []
    assert caplog.text == ""


OTHERS = [replace(ENTRY, id="x"), replace(ENTRY, source="flows"), replace(ENTRY, head="other"), replace(ROW, id="r999")]


@pytest.mark.parametrize("other", OTHERS)
def test_entries_of_other_rows_are_told_and_change_nothing(
    tmp_path: Path, other: Entry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert given(tmp_path, other, ROW) == [replace(ROW, since=0)]
    assert f"1 of 2 entries of {tmp_path / 'rows.jsonl'} are of no training row of this run" in caplog.text
    assert f"row '{other.id}' of source '{other.source}'" in caplog.text


def test_a_list_of_which_nothing_is_of_these_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"rows\.jsonl has 4 entries and none is .* row 'x' of source 'calls', task\.first"
    ):
        given(tmp_path, *OTHERS)


def test_rows_that_share_an_entry_cannot_be_left_out(tmp_path: Path) -> None:
    source = guarded.make_source()
    source.splits["train"].encoded.packed = True
    with pytest.raises(DataError, match=r"sets rows of 'calls' aside, of which several are packed"):
        given(tmp_path, ROW, source=source)
    assert given(tmp_path, replace(ROW, state="restored"), source=source)


def test_a_list_that_leaves_no_row_is_refused(tmp_path: Path) -> None:
    source = guarded.make_source()
    split = source.splits["train"]
    split.left_out = frozenset(range(1, guarded.N_ROWS))
    check_left({"calls": source}, tmp_path)
    split.left_out = frozenset(range(guarded.N_ROWS))
    with pytest.raises(DataError, match="sets all training rows of 'calls' aside"):
        check_left({"calls": SimpleNamespace(splits={"train": split})}, tmp_path)  # type: ignore[dict-item]
