"""`jenga recalibrate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Invoke = Callable[..., Result]


def test_the_folder_that_it_writes_is_a_run_to_other_commands(invoke: Invoke, event_run: Path, tmp_path: Path) -> None:
    rows = event_run.parents[1] / "flows.json"
    result = invoke("recalibrate", event_run, "--data", rows, "-o", tmp_path / "new", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert f"wrote {tmp_path / 'new'}" in result.stdout
    assert "before: 80 rows" in result.stdout
    assert "after, on the rows that it was fitted to: 80 rows" in result.stdout
    judged = invoke("evaluate", tmp_path / "new", "--data", rows, "--json")
    assert json.loads(judged.stdout)["rows"] == 80


def test_what_it_found_as_json(invoke: Invoke, event_run: Path, tmp_path: Path) -> None:
    rows = event_run.parents[1] / "flows.json"
    result = invoke("recalibrate", event_run, "--data", rows, "-o", tmp_path / "new", "--json", "--device", "cpu")
    found = json.loads(result.stdout)
    assert found["folder"] == str(tmp_path / "new")
    assert found["before"]["rows"] == found["after"]["rows"] == 80
    assert found["kept"] == []


def test_a_setting_of_something_else_is_refused_with_its_code(invoke: Invoke, event_run: Path, tmp_path: Path) -> None:
    rows = event_run.parents[1] / "flows.json"
    result = invoke("recalibrate", event_run, "--data", rows, "-o", tmp_path / "new", "--set", "training.epochs=1")
    assert result.exit_code == 2
    assert "only what is fitted here can be set" in result.stderr
