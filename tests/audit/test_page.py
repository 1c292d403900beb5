from pathlib import Path

from jenga.audit.findings import Audit, Finding
from jenga.audit.page import MAX_SHOWN, write_page


def page_of(tmp_path: Path, *findings: Finding) -> str:
    audit = Audit("small", list(findings), {"train": 80}, ["labels were judged by <b>"], 2, 1.0, {})
    write_page(audit, tmp_path / "audit.html")
    return (tmp_path / "audit.html").read_text(encoding="utf-8")


def leak(row: int, text: str = "") -> Finding:
    return Finding("leak", "test", "/far/rows.jsonl", row, "r", None, None, None, None, None, "why", text)


def test_what_rows_hold_is_text_and_nothing_is_loaded(tmp_path: Path) -> None:
    raw = page_of(tmp_path, leak(3, "<script>alert(1)</script>"))
    assert "&lt;script&gt;" in raw
    assert raw.count("<script") == 1, "the page's own"
    assert "<b>" not in raw
    assert "default-src 'none'" in raw
    assert "http" not in raw.replace("http-equiv", "")
    assert "rows.jsonl:3" in raw
    assert "/far/" not in raw


def test_a_kind_without_findings_has_no_table_and_columns_without_cells_are_left_out(tmp_path: Path) -> None:
    raw = page_of(tmp_path, leak(3, "some text"))
    assert raw.count("<details") == 1
    assert "what it holds" in raw
    assert "rather" not in raw


def test_of_very_many_findings_the_first_are_shown_and_the_number_of_all(tmp_path: Path) -> None:
    raw = page_of(tmp_path, *[leak(row) for row in range(1, MAX_SHOWN + 51)])
    assert raw.count("rows.jsonl:") == MAX_SHOWN
    assert f"({MAX_SHOWN + 50}, the first {MAX_SHOWN})" in raw
