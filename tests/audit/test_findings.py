import json
from pathlib import Path

import pytest

from jenga.audit.findings import KINDS, Audit, Finding, by_kind, check_limits, read_limits
from jenga.errors import ConfigError, DataError


def finding(kind: str, row: int | None, worse: float = 0.0) -> Finding:
    return Finding(kind, "train", "a/rows.jsonl", row, "r", None, None, None, None, None, "why", worse=worse)


def audit(*findings: Finding) -> Audit:
    return Audit("small", list(findings), {"train": 8, "valid": 2}, [], 0, 0.1, {"a/rows.jsonl": "0123"})


def test_a_line_is_a_finding_the_worst_of_the_first_kind_first(tmp_path: Path) -> None:
    found = audit(finding("label_error", 3, 0.2), finding("label_error", 4, 0.9), finding("leak", 2))
    found.write(tmp_path / "audit.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["row"]) for line in lines] == [("leak", 2), ("label_error", 4), ("label_error", 3)]
    assert lines[0]["rows_sha256"] == "0123"
    assert list(lines[0]) == [
        "kind", "split", "file", "row", "id", "task", "head", "given", "suggested", "score", "reason", "text",
        "rows_sha256",
    ]  # fmt: skip


def test_a_row_counts_once_however_many_findings_it_has() -> None:
    found = audit(finding("trigger", 3), finding("trigger", 3), finding("drift", None))
    assert found.share("trigger") == 0.1
    assert found.share("drift") == 0.0
    assert by_kind(found.findings) == {"trigger": 2, "drift": 1}


def test_the_table_has_a_row_for_every_kind_also_where_nothing_was_found() -> None:
    table = audit(finding("leak", 3)).counts()
    assert [row[0] for row in table[1:]] == [kind.replace("_", " ") for kind in KINDS]
    assert table[1][1:3] == ["1", "10.00%"]


@pytest.mark.parametrize(
    ("words", "fails"), [("leak", True), ("leak:0.1", False), ("conflict", False), ("drift", True)]
)
def test_more_than_the_limit_of_a_kind_is_an_error(words: str, fails: bool) -> None:
    found, limits = audit(finding("leak", 3), finding("drift", None)), read_limits(words)
    if fails:
        with pytest.raises(DataError, match=f"--fail-on: 1 of {words}"):
            check_limits(found, limits)
    else:
        check_limits(found, limits)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("leaks", "did you mean 'leak'"),
        ("leak:many", "'many' is no share"),
        ("leak:nan", "'nan' is no share"),
        ("leak:5", "'5' is no share of rows, from 0 to 1"),
        ("drift:0.5", "write drift alone"),
    ],
)
def test_limits_that_cannot_be_are_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_limits(words)


def test_places_are_short_and_parts_stand_for_rows_that_are_none() -> None:
    assert finding("leak", 3).place == "rows.jsonl:3"
    assert finding("drift", None).place == "train"
