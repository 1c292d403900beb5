"""What rows a run was made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.config.schema import DataConfig
from jenga.labels.column import HeadColumn
from jenga.modalities.text.columns import TextColumns
from jenga.rows.fingerprint import Fingerprint, changes, fingerprint
from jenga.rows.load import load_sources
from jenga.rows.parse import SourceSpec

Rows = list[dict[str, Any]]


def made_of(path: Path, *, seed: int = 0) -> Fingerprint:
    head = HeadColumn(task="mood", head="mood", kind="class", candidates=("label",), size=None, labels=None)
    spec = SourceSpec("mood", (str(path),), (), (), "id", (head,), TextColumns(("text",), None, 16))
    return fingerprint(load_sources([spec], data=DataConfig(split_seed=seed)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "rows.jsonl", [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(30)])
    return tmp_path / "rows.jsonl"


def write(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def cut(rows: Rows) -> Rows:
    return rows[:-1]


def lengthen(rows: Rows) -> Rows:
    return [*rows, {"text": "one more", "label": "a"}]


def relabel(rows: Rows) -> Rows:
    return [{**rows[0], "label": "b"}, *rows[1:]]


def edit(rows: Rows) -> Rows:
    return [*rows[:-1], {**rows[-1], "text": "another"}]


def swap(rows: Rows) -> Rows:
    return [rows[1], rows[0], *rows[2:]]


@pytest.mark.parametrize("change", [cut, lengthen, relabel, edit, swap])
def test_a_file_whose_rows_changed_is_named(path: Path, change: Callable[[Rows], Rows]) -> None:
    known = made_of(path)
    write(path, change([json.loads(line) for line in path.read_text().splitlines()]))
    assert changes(known, made_of(path)) == [f"{path} changed"]


def test_rows_that_are_read_again_are_the_same_also_by_way_of_json(path: Path) -> None:
    known = made_of(path)
    path.touch()
    assert changes(json.loads(json.dumps(known)), made_of(path)) == []


def test_files_that_come_and_go_are_named(path: Path, tmp_path: Path) -> None:
    known = made_of(path)
    other = path.rename(tmp_path / "other.jsonl")
    assert changes(known, made_of(other)) == [f"{path} is not read now", f"{other} was not read then"]


def test_the_same_rows_split_otherwise_are_told_by_source(path: Path) -> None:
    assert changes(made_of(path), made_of(path, seed=1)) == [
        "the rows of mood are split otherwise than by the Jenga that began it"
    ]
