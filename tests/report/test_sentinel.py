"""What a report says of a sentinel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from jenga.report.sentinel import sentinel_section
from jenga.sentinel.ledger import Entry, write_entries

ENTRY = Entry("secret-id", "calls", "mood", "mood", "label_error", 0.1, "why", 30, 30, "quarantined", "good", "bad")


def text(run: Path) -> str:
    return " ".join(ElementTree.tostring(part, "unicode", "text") for part in sentinel_section(run))


def test_a_run_without_one_has_no_section(tmp_path: Path) -> None:
    assert sentinel_section(tmp_path) == []


def test_events_and_rows_are_counted_by_detector_without_the_rows(tmp_path: Path) -> None:
    folder = tmp_path / "sentinel"
    write_entries(folder / "quarantine.jsonl", [ENTRY, replace(ENTRY, id="other", state="restored")])
    spike = {"detector": "loss_spike", "what": "a\u2028b"}
    lines = [{"step": at, **spike, "action": ("observed", "undo")[at == 9]} for at in (3, 5, 9)]
    (folder / "events.jsonl").write_text(
        "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines) + "[" * 100_000
    )
    shown = sentinel_section(tmp_path)
    cells = [["".join(cell.itertext()) for cell in row.iter() if cell.tag in ("td", "th")]
             for part in shown for row in part.iter("tr")]  # fmt: skip
    assert ["loss_spike", "3", "3", "9", "observed 2, undo 1"] in cells
    assert ["label_error", "1", "1", "0"] in cells
    assert "secret-id" not in text(tmp_path)
