"""Cells that hold JSON, and words for messages."""

from __future__ import annotations

import pytest

from jenga.labels.column import RowError, read_cell, show, some_of


def test_a_cell_of_a_table_may_hold_json() -> None:
    assert read_cell(' [1, "a"]', "head") == [1, "a"]
    assert read_cell("plain", "head") == "plain"
    assert read_cell(None, "head") is None
    with pytest.raises(RowError, match=r"head: .* is not JSON"):
        read_cell("['a', 'b']", "head")


def test_messages_stay_short() -> None:
    assert len(show("x" * 1000)) <= 80
    assert some_of(map(str, range(150))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (150 in all)"
    assert some_of("ab") == "a, b"
