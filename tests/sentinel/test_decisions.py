"""What a sentinel has decided."""

from __future__ import annotations

from pathlib import Path

import pytest

from jenga.errors import SetupError
from jenga.sentinel.decisions import Decisions


def test_a_new_process_knows_what_was_decided(tmp_path: Path) -> None:
    path = tmp_path / "sentinel" / "decisions.json"
    first = Decisions(path)
    assert [first.undo(45), first.undo(45), first.undo(7)] == [1, 2, 1]
    first.begin_again()
    second = Decisions(path)
    assert second.undo(45) == 3
    second.go_back(45)
    assert (second.starts, second.to_the_start) == (1, True)
    second.at_start()
    third = Decisions(path)
    assert (dict(third.undone), third.rollbacks, third.starts, third.to_the_start) == ({7: 1}, 1, 1, False)


@pytest.mark.parametrize("text", ["{", "[]", '{"undone": 3}', '{"starts": "many"}', "[" * 100_000])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "decisions.json").write_text(text)
    with pytest.raises(SetupError, match=r"decisions\.json: damaged"):
        Decisions(tmp_path / "decisions.json")
