"""audit.html: one file that shows what was found, with nothing loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from jenga.audit.findings import KINDS, Audit, Finding
from jenga.files import write_atomic
from jenga.report.page import facts, node, table, written

MAX_SHOWN = 200
"""Findings of a kind that a page shows; audit.jsonl has all of them."""
_MAX_OPEN = 25


def write_page(found: Audit, path: Path) -> None:
    """Write the page."""
    known = [(f"{name} rows", f"{count:,}") for name, count in found.rows.items()]
    known += [("rows that cannot be used", f"{found.bad:,}"), ("time", f"{found.seconds:,.0f} s")]
    body = [
        node("h1", f"{found.project}: audit of its rows"),
        facts(known),
        # What each is stands above its findings; a phone has no room for it here.
        table([row[:-1] for row in found.counts()]),
        *[part for kind in KINDS for part in _kind(found, kind)],
        node("h2", "What was looked at"),
        node("ul", *[node("li", words) for words in found.told]),
    ]
    write_atomic(path, written(f"{found.project} - audit", body))


def _kind(found: Audit, kind: str) -> list[Element]:
    findings = found.of(kind)
    if not findings:
        return []
    shown = findings[:MAX_SHOWN]
    more = f", the first {len(shown):,}" if len(shown) < len(findings) else ""
    title = f"{kind.replace('_', ' ')}: {KINDS[kind]} ({len(findings):,}{more})"
    opened = {"open": "open"} if len(findings) <= _MAX_OPEN else {}
    return [node("details", node("summary", title), _table(shown), attributes=opened)]


def _table(findings: list[Finding]) -> Element:
    """Return a table of findings, without the columns that none of them has."""
    columns = {
        "row": [each.place for each in findings],
        "part": [each.split for each in findings],
        "head": ["" if each.task is None else f"{each.task}.{each.head}" for each in findings],
        "what it holds": [each.text for each in findings],
        "label": [each.given or "" for each in findings],
        "rather": [each.suggested or "" for each in findings],
        "score": ["" if each.score is None else f"{each.score:.3g}" for each in findings],
        "why": [each.reason for each in findings],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    return table([list(kept), *map(list, zip(*kept.values(), strict=True))])
