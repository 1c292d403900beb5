"""`jenga quarantine`: what a sentinel has set aside, in words, and giving it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from jenga.sentinel.ledger import Entry, Ledger, read_entries, write_entries
from jenga.trainer.run import HeldFolder

Invoke = Callable[..., Result]
ENTRY = Entry("r1", "calls", "mood", "mood", "label_error", 0.1, "why", 30, 30, "quarantined", "good", "bad")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    row = replace(ENTRY, id="r2", task=None, head=None, detector="trigger")
    rows = [ENTRY, row, replace(ENTRY, id="r3", state="observed")]
    write_entries(folder / "sentinel" / "quarantine.jsonl", rows)
    return folder


def states(run: Path) -> dict[str, str]:
    return {each.id: each.state for each in Ledger(run / "sentinel" / "quarantine.jsonl").entries}


def test_list_shows_rows_with_their_detectors_and_counts(invoke: Invoke, run: Path) -> None:
    result = invoke("quarantine", "list", str(run))
    assert result.exit_code == 0, result.output
    assert "mood.mood" in result.output
    assert "2 quarantined, 0 restored, 1 observed" in result.output
    found = json.loads(invoke("quarantine", "list", str(run), "--detector", "trigger", "--json").stdout)
    assert [(each["id"], each["task"]) for each in found] == [("r2", None)]


def test_restore_gives_back_by_id_and_by_detector(invoke: Invoke, run: Path) -> None:
    assert invoke("quarantine", "restore", str(run), "--id", "r1").exit_code == 0
    assert states(run) == {"r1": "restored", "r2": "quarantined", "r3": "observed"}
    assert "1 given back" in invoke("quarantine", "restore", str(run), "--detector", "trigger").output
    assert states(run)["r2"] == "restored"


def test_export_writes_what_another_run_takes(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    assert invoke("quarantine", "export", str(run), "-o", str(output)).exit_code == 0
    assert [each.id for each in read_entries(output)] == ["r1", "r2"]
    own = str(run / "sentinel" / "quarantine.jsonl")
    assert invoke("quarantine", "export", str(run), "-o", own).exit_code == 2


def test_what_cannot_be_done_is_told(invoke: Invoke, run: Path, tmp_path: Path) -> None:
    assert "Say which" in invoke("quarantine", "restore", str(run)).output
    assert "no row 'r9'" in invoke("quarantine", "restore", str(run), "--id", "r9").output
    missing = invoke("quarantine", "list", str(tmp_path))
    assert (missing.exit_code, "is no run" in missing.output) == (4, True)
    (run / "sentinel" / "quarantine.jsonl").unlink()
    assert "spoke against no row" in invoke("quarantine", "list", str(run)).output


def test_a_run_that_goes_on_keeps_its_quarantine_to_itself(invoke: Invoke, run: Path) -> None:
    holder = HeldFolder(run)
    holder.hold()
    try:
        result = invoke("quarantine", "restore", str(run), "--id", "r1")
    finally:
        holder.release()
    assert result.exit_code == 4
    assert states(run)["r1"] == "quarantined"
