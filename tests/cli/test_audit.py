import json
from collections.abc import Callable
from pathlib import Path

import pytest
from audit_rows import LEAKED, TWICE, WRONG, write_experiment
from click.testing import Result

Invoke = Callable[..., Result]


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return write_experiment(tmp_path)


def test_findings_are_told_and_written_and_the_training_without_them_begins(
    invoke: Invoke, experiment: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found"
    result = invoke("audit", experiment, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "label error" in result.stdout
    assert f"train.jsonl:{WRONG + 1}" in result.stdout
    assert "labels were judged by a linear model over TF-IDF" in result.stderr
    lines = [json.loads(line) for line in (out / "audit.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["row"]) for line in lines] == [
        ("leak", LEAKED + 1), ("duplicate", TWICE + 1), ("label_error", WRONG + 1),
    ]  # fmt: skip
    assert (out / "audit.html").read_text().startswith("<!DOCTYPE html>")

    without = invoke("check", experiment, "--json", "--device", "cpu", "--set", f"data.exclude={out / 'audit.jsonl'}")
    assert without.exit_code == 0, without.stderr
    found = json.loads(without.stdout)
    assert (found["heads"][0]["train_rows"], found["heads"][0]["valid_rows"]) == (238, 29)
    assert "data.exclude: 2 train, 1 valid rows are left out, as audit.jsonl says" in found["warnings"]


def test_a_list_that_training_uses_is_neither_shortened_nor_overwritten(
    invoke: Invoke, experiment: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found"
    assert invoke("audit", experiment, "--out", out).exit_code == 0
    before = (out / "audit.jsonl").read_text()
    used = ("--set", f"data.exclude={out / 'audit.jsonl'}")
    refused = invoke("audit", experiment, "--out", out, *used)
    assert refused.exit_code == 2
    assert "is what is read, which would be lost" in refused.stderr
    assert (out / "audit.jsonl").read_text() == before
    again = invoke("audit", experiment, "--out", tmp_path / "again", *used)
    assert "data.exclude is left aside: all rows are looked at" in again.stderr
    assert (tmp_path / "again" / "audit.jsonl").read_text() == before


def test_more_than_a_limit_ends_with_the_code_of_data_and_json_counts(
    invoke: Invoke, experiment: Path, tmp_path: Path
) -> None:
    result = invoke("audit", experiment, "--out", tmp_path / "found", "--fail-on", "leak,label_error:0.05", "--json")
    assert result.exit_code == 3
    assert "--fail-on: 1 of leak (0.37% of rows; allowed: 0.00%)" in result.stderr
    assert "label_error" not in result.stderr
    found = json.loads(result.stdout)
    assert found["findings"] == {"leak": 1, "duplicate": 1, "label_error": 1}
    assert found["rows"] == {"train": 240, "valid": 30}


def test_a_limit_that_cannot_be_is_refused_before_anything_is_read(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("audit", tmp_path / "none.yml", "--fail-on", "leeks")
    assert result.exit_code == 2
    assert "did you mean 'leak'" in result.stderr
