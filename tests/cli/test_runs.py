"""`jenga runs`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Invoke = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two finished runs of other settings, as a training leaves them."""
    folder = tmp_path / "runs"
    head = {
        "task": "mood", "head": "feeling", "kind": "class", "labels": ["a", "b"], "rows": 4,
        "primary_metric": "macro_f1", "greater_is_better": True, "directions": {"macro_f1": True, "accuracy": True},
        "metrics": {"macro_f1": 0.5, "accuracy": 0.75}, "details": {"warnings": []}, "baselines": {},
    }  # fmt: skip
    for day, score, epochs in (("01", 0.5, 1), ("02", 0.625, 2)):
        run = folder / "p" / f"2030-01-{day}"
        run.mkdir(parents=True)
        created = f"2030-01-{day}T00:00:00+00:00"
        info = {"status": "finished", "created": created, "rows": {"train": 24}, "seconds": 2.0,
                "fingerprint": {"splits": {"s": {"test": "x"}}}}  # fmt: skip
        (run / "run.json").write_text(json.dumps(info))
        (run / "config.yml").write_text(f"training: {{epochs: {epochs}}}\n")
        heads = [{**head, "metrics": {"macro_f1": score, "accuracy": 0.75}}]
        splits = {name: {"rows": 4, "metrics": {"loss": 1.0}, "heads": heads} for name in ("valid", "test")}
        evaluation = {"project": "p", "best_step": 5, "metric": "eval_loss", "splits": splits}
        (run / "evaluation.json").write_text(json.dumps(evaluation))
        wrong = {"at": [0, 1] if day == "01" else [1], "sizes": [1.0] * (2 if day == "01" else 1)}
        errors = {"test": {"mood": {"feeling": {"rows": 4, "error": "loss", "wrong": wrong}}}}
        (run / "errors.json").write_text(json.dumps(errors))
    return folder


def test_runs_are_listed_with_the_newest_first(invoke: Invoke, folder: Path) -> None:
    found = invoke("runs", "list", str(folder))
    assert found.exit_code == 0, found.output
    header, first, second = (line.split() for line in found.stdout.splitlines())
    assert header == ["run", "created", "status", "steps", "metric", "value", "rows", "seconds"]
    assert (first[0], second[0]) == ("p/2030-01-02", "p/2030-01-01")
    assert first[1:] == ["2030-01-02", "00:00:00", "finished", "-", "eval_loss", "1.000", "24", "2.0"]
    told = json.loads(invoke("runs", "list", str(folder), "--json").stdout)
    assert [each["name"] for each in told] == ["p/2030-01-02", "p/2030-01-01"]


def test_the_usual_folder_is_listed_where_none_is_given_and_an_empty_one_says_so(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert invoke("runs", "list").stdout.count("finished") == 2
    shutil.rmtree(folder / "p")
    found = invoke("runs", "list")
    assert (found.exit_code, found.stdout, found.stderr) == (0, "", "runs: no run in it\n")
    folder.rmdir()
    found = invoke("runs", "list")
    assert found.exit_code == 3
    assert "no such folder" in found.stderr


def test_runs_are_compared_by_settings_metrics_and_rows(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    paths = [str(folder / "p" / f"2030-01-0{day}") for day in (1, 2)]
    page = tmp_path / "page.html"
    found = invoke("runs", "compare", *paths, "--html", str(page))
    assert found.exit_code == 0, found.output
    lines = [line.split() for line in found.stdout.splitlines()]
    assert ["training.epochs", "1", "2"] in lines
    assert ["test", "mood", "feeling", "macro_f1", "0.500", "0.625", "+0.125", "better", "0", "/", "1", "(1)"] in lines
    assert not [line for line in lines if "accuracy" in line]
    assert "accuracy" in page.read_text()
    assert "accuracy" in invoke("runs", "compare", *paths, "--all").stdout
    told = json.loads(invoke("runs", "compare", *paths, "--json").stdout)
    assert told["settings"] == {"training.epochs": {"2030-01-01": "1", "2030-01-02": "2"}}
    assert told["same_rows"]


def test_one_run_alone_is_refused(invoke: Invoke, folder: Path) -> None:
    found = invoke("runs", "compare", str(folder / "p" / "2030-01-01"))
    assert found.exit_code == 3
    assert "give two or more" in found.stderr
