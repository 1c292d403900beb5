"""What is set aside, given back and only seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.sentinel.ledger import Entry, Ledger, capped, read_entries

ENTRY = Entry("r1", "calls", "mood", "mood", "label_error", 0.1, "why", 30, 30, "quarantined", "good", "bad")
ROW = replace(ENTRY, id="r2", task=None, head=None, detector="trigger", since=0)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "sentinel" / "quarantine.jsonl")


def test_what_is_noted_is_found_again_and_masks_its_cells(ledger: Ledger) -> None:
    assert ledger.add([ENTRY, ROW, replace(ENTRY, id="r3", state="observed")]) != []
    again = Ledger(ledger.path)
    assert again.entries == ledger.entries
    assert again.cells("calls") == {"r1": frozenset({("mood", "mood")}), "r2": frozenset({None})}
    assert again.cells("flows") == {}


def test_nothing_is_noted_twice_but_what_was_only_seen_before(ledger: Ledger) -> None:
    ledger.add([ENTRY, replace(ENTRY, id="r3", state="observed")])
    assert ledger.add([replace(ENTRY, step=40)]) == []
    (new,) = ledger.add([replace(ENTRY, id="r3")])
    assert new.state == "quarantined"
    assert len(ledger.entries) == 2


def test_what_a_person_gave_back_is_never_set_aside_again(ledger: Ledger) -> None:
    ledger.add([ENTRY, ROW])
    assert [each.id for each in ledger.restore(ids=["r2"])] == ["r2"]
    assert [each.id for each in ledger.restore(detectors=["label_error", "trigger"])] == ["r1"]
    assert ledger.cells("calls") == {}
    assert ledger.add([ENTRY, ROW, replace(ENTRY, id="r2")]) == []
    ledger.cut(0)
    assert {each.state for each in Ledger(ledger.path).entries} == {"restored"}


def test_going_back_forgets_what_holds_from_later_on(ledger: Ledger) -> None:
    ledger.add([ENTRY, ROW])
    ledger.cut(30)
    assert len(ledger.entries) == 2
    ledger.cut(29)
    assert Ledger(ledger.path).entries == [ROW]


def test_caps_hold_by_class_and_in_all_and_the_worst_come_first() -> None:
    rows = [replace(ENTRY, id=f"r{at}", label="good" if at % 2 else "bad") for at in range(8)]
    inside, beyond = capped(rows, {"good": 10, "bad": 4}, [], most=0.5, most_of_class=0.25)
    assert [each.id for each in inside] == ["r0", "r1", "r3"]
    assert len(inside) + len(beyond) == 8
    inside, _ = capped(rows, {"good": 50, "bad": 50}, rows[:2], most=0.05, most_of_class=1)
    assert [each.id for each in inside] == ["r0", "r1", "r2"]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", json.dumps({"id": "r1"}), json.dumps({**vars(ENTRY), "state": "gone"}), "null", "", "[" * 100_000],
)
def test_a_line_that_is_none_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / "quarantine.jsonl"
    path.write_text(json.dumps(vars(ENTRY)) + f"\n{line}\n")
    with pytest.raises(DataError, match=rf"{path}:2: no entry of a sentinel's quarantine"):
        read_entries(path)


def test_labels_may_hold_any_end_of_a_line(ledger: Ledger) -> None:
    odd = replace(ENTRY, label="a\u2028b\x85c\x0b", reason="one\ntwo")
    ledger.add([odd, ROW])
    assert read_entries(ledger.path) == [odd, ROW]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.jsonl: cannot be read"):
        read_entries(tmp_path / "no.jsonl")


def test_a_row_of_another_source_with_the_same_id_stays(ledger: Ledger) -> None:
    given: dict[str, Any] = {"source": "flows"}
    ledger.add([ENTRY, replace(ENTRY, **given)])
    assert len(ledger.entries) == 2
