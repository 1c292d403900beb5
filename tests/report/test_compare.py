from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jenga.errors import DataError
from jenga.report.compare import Line, RunComparison, compare_runs, metrics_table, settings_table
from jenga.report.errors import write_errors


def other_run(run: Path, *, prints: bool = True) -> Path:
    """Return a copy of a run beside it whose first head is better, second worse, with another batch size."""
    again = shutil.copytree(run, run.with_name("2030-01-02_00-00-00"))
    config = (again / "config.yml").read_text()
    (again / "config.yml").write_text(
        config.replace("batch_size: 32", "batch_size: 64").replace("heads: 0.0005", "heads: 0.001")
    )
    path = again / "evaluation.json"
    evaluation = json.loads(path.read_text())
    heads = evaluation["splits"]["test"]["heads"]
    heads[0]["metrics"]["macro_f1"] += 0.1
    heads[3]["metrics"]["mae"] += 1.0
    path.write_text(json.dumps(evaluation))
    for each in (run, again) if prints else ():
        info = json.loads((each / "run.json").read_text())
        (each / "run.json").write_text(json.dumps({**info, "fingerprint": {"splits": {"s": {"test": "abc"}}}}))
    return again


def line(found: RunComparison, task: str, metric: str) -> Line:
    return next(each for each in found.lines if (each.split, each.task, each.metric) == ("test", task, metric))


def test_settings_that_differ_are_told_and_no_others(run: Path) -> None:
    found = compare_runs([run, other_run(run)])
    assert settings_table(found) == [
        ["setting", "2030-01-01_00-00-00", "2030-01-02_00-00-00"],
        ["training.batch_size", "32", "64"],
        ["training.learning_rate.heads", "0.0005", "0.001"],
    ]


def test_passwords_in_addresses_are_no_settings_that_are_told(run: Path) -> None:
    again = other_run(run)
    for place, address in ((run, "https://ann:secret@one/data"), (again, "https://bob:secret@two/data")):
        config = (place / "config.yml").read_text()
        (place / "config.yml").write_text(config.replace("/home/someone/secret", address))
    found = compare_runs([run, again])
    told = json.dumps(found.as_json()) + str(settings_table(found))
    assert "https://***@two/data" in told
    assert "secret" not in told


def test_better_and_worse_follow_the_direction_of_the_metric(run: Path) -> None:
    found = compare_runs([run, other_run(run)])
    assert line(found, "QA", "macro_f1").verdict(1) == "better"
    assert line(found, "Wait", "mae").verdict(1) == "worse"
    assert line(found, "Mood", "macro_f1").verdict(1) == "", "neither, where both are alike"
    assert line(found, "QA", "macro_f1").verdict(0) == ""
    unknown = Line("test", "t", "h", "own", None, (1.0, 2.0))
    assert unknown.verdict(1) == ""
    table = metrics_table(found)
    assert next(row for row in table if row[:2] == ["test", "Wait"])[-1] == "+1.000 worse"
    assert len(metrics_table(found, everything=True)) > len(table)
    json.dumps(found.as_json(), allow_nan=False)


def test_rows_are_compared_one_by_one_where_they_are_the_same(run: Path) -> None:
    again = other_run(run)
    for place, wrong in ((run, [1, 2, 3]), (again, [3])):
        head: dict[str, Any] = {"rows": 300, "wrong": {"at": wrong, "sizes": [1.0] * len(wrong)}}
        write_errors(place, {"test": {"Mood": {"label": head}}})
    found = compare_runs([run, again])
    assert found.same_rows
    row = next(row for row in metrics_table(found) if row[:2] == ["test", "Mood"])
    assert row[-1] == "0 / 2 (0.5)"
    told = next(each for each in found.as_json()["metrics"] if each["task"] == "Mood" and each["paired"])
    assert told["paired"] == {again.name: {"first": 0, "second": 2, "p": 0.5}}
    info = json.loads((again / "run.json").read_text())
    (again / "run.json").write_text(json.dumps({**info, "fingerprint": {"splits": {"s": {"test": "other"}}}}))
    assert not compare_runs([run, again]).same_rows
    assert not any(each.pairs and any(each.pairs) for each in compare_runs([run, again]).lines)


def test_a_head_that_one_run_lacks_has_a_gap(run: Path) -> None:
    again = other_run(run)
    path = again / "evaluation.json"
    evaluation = json.loads(path.read_text())
    del evaluation["splits"]["test"]["heads"][1]
    path.write_text(json.dumps(evaluation))
    found = compare_runs([run, again])
    assert line(found, "Mood", "macro_f1").values[1] is None
    (path).unlink()
    assert line(compare_runs([run, again]), "QA", "macro_f1").values[1] is None


def test_one_run_alone_and_a_run_given_twice_are_refused(run: Path) -> None:
    with pytest.raises(DataError, match="give two or more"):
        compare_runs([run])
    with pytest.raises(DataError, match="given twice"):
        compare_runs([run, run])
