"""What a run's sentinel saw, did and set aside, in a report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from jenga.report.page import anchored, node, table
from jenga.sentinel.ledger import EVENTS, FILE, FOLDER, STATES, read_entries


def sentinel_section(run: Path) -> list[Element]:
    """Return a table of events and one of rows, by detector; nothing of a run whose sentinel saw nothing.

    No row's content and no id is in it. Raises DataError for a quarantine.jsonl that is damaged.
    """
    folder = run / FOLDER
    events = _events(folder / EVENTS)
    entries = read_entries(folder / FILE) if (folder / FILE).exists() else []
    if not events and not entries:
        return []
    parts = [anchored("sentinel", "Sentinel")]
    if events:
        seen: dict[str, list[Mapping[str, Any]]] = {}
        for event in events:
            seen.setdefault(str(event.get("detector")), []).append(event)
        rows = [
            [name, str(len(each)), str(each[0].get("step")), str(each[-1].get("step")), _counts(each)]
            for name, each in seen.items()
        ]
        parts.append(table([["detector", "events", "first step", "last step", "what was done"], *rows]))
    if entries:
        counts = Counter((each.detector, each.state) for each in entries)
        names = dict.fromkeys(each.detector for each in entries)
        rows = [[name, *(f"{counts[name, state]:,}" for state in STATES)] for name in names]
        parts.append(table([["rows by detector", *STATES], *rows]))
        parts.append(node("p", "jenga quarantine list shows them, and jenga quarantine restore gives them back."))
    return parts


def _counts(events: list[Mapping[str, Any]]) -> str:
    actions = Counter(str(event.get("action")) for event in events)
    return ", ".join(f"{action} {count}" for action, count in actions.items())


def _events(path: Path) -> list[Mapping[str, Any]]:
    """Return the events of a run; a last line that a killed process left half written is passed over."""
    found: list[Mapping[str, Any]] = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else ():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            found.append(event)
    return found
