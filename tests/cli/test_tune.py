import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Invoke = Callable[..., Result]
TUNE = """
tune:
  trials: 2
  space:
    training.batch_size: [4, 8]
    tasks[mood].dropout: {low: 0.0, high: 0.5}
"""


@pytest.fixture
def searched(config: Path) -> Path:
    config.write_text(config.read_text() + TUNE)
    return config


def test_a_search_ends_with_a_table_of_trials_and_a_configuration_that_trains(
    invoke: Invoke, searched: Path, tmp_path: Path
) -> None:
    result = invoke("tune", searched, "--output-dir", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    header, *rows, last = result.stdout.splitlines()
    assert header.split() == ["trial", "state", "eval_loss", "training.batch_size", "tasks[mood].dropout", "notes"]
    assert [row.split()[:2] for row in rows] == [["0", "finished"], ["1", "finished"]]
    assert sum(row.endswith("best") for row in rows) == 1
    assert "tasks[mood].dropout 0." in result.stderr
    best = Path(last.removeprefix("best: "))
    assert best.parents[2] == tmp_path / "out"
    assert invoke("train", best, "--quiet").exit_code == 0
    again = invoke("tune", searched, "--output-dir", tmp_path / "out", "--resume", best.parent, "--json")
    assert again.exit_code == 2
    assert "for more trials raise tune.trials" in again.stderr


def test_json_is_the_content_of_study_json(invoke: Invoke, searched: Path, tmp_path: Path) -> None:
    result = invoke("tune", searched, "--output-dir", tmp_path / "out", "--json", "--set", "tune.trials=1")
    found = json.loads(result.stdout)
    assert found == json.loads((Path(found["study"]) / "study.json").read_text())
    assert len(found["trials"]) == 1


def test_without_optuna_the_command_ends_with_code_four(
    invoke: Invoke, searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = invoke("tune", searched)
    assert result.exit_code == 4
    assert "pip install 'jenga[tune]'" in result.stderr


def test_without_ray_the_command_ends_with_code_four_before_there_is_a_study(
    invoke: Invoke, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = invoke("tune", searched, "--output-dir", tmp_path / "out", "--ray")
    assert result.exit_code == 4
    assert "pip install 'jenga[ray]'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_ray_and_workers_reach_the_study_and_what_ray_prints_no_result(
    invoke: Invoke, searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int]] = []

    def tune(*_: Any, ray: str, workers: int, **__: Any) -> dict[str, int]:
        given.append((ray, workers))
        print("(raylet) a worker died")
        return {"trials": 0}

    monkeypatch.setattr("jenga.tuning.study.tune", tune)
    for options in ((), ("auto",), ("10.0.0.1:6379",)):
        result = invoke("tune", searched, "--json", "--ray", *options, "--workers", "3")
        assert json.loads(result.stdout) == {"trials": 0}
        assert "(raylet)" in result.stderr
    assert given == [("local", 3), ("auto", 3), ("10.0.0.1:6379", 3)]


def test_workers_without_ray_are_refused(invoke: Invoke, searched: Path) -> None:
    result = invoke("tune", searched, "--workers", "2")
    assert result.exit_code == 2
    assert "add --ray" in result.stderr


def test_mistakes_of_the_space_come_at_once_before_any_trial(invoke: Invoke, searched: Path) -> None:
    text = searched.read_text().replace("batch_size: [4, 8]", "batch_sise: [4, 8]").replace("high: 0.5", "high: 1.5")
    searched.write_text(text)
    for command in ("tune", "train", "check"):
        result = invoke(command, searched)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: 2 problems\n")
        assert "did you mean 'batch_size'?" in result.stderr
        assert "tasks[mood].dropout.high: 1.5: must be less than 1" in result.stderr


def test_a_file_without_the_block_is_told_what_is_missing(invoke: Invoke, config: Path) -> None:
    result = invoke("tune", config)
    assert result.exit_code == 2
    assert "tune: required block is missing" in result.stderr


def test_training_leaves_the_block_aside_and_says_so(invoke: Invoke, searched: Path, tmp_path: Path) -> None:
    result = invoke("train", searched, "--output-dir", tmp_path / "out")
    assert result.exit_code == 0
    assert "tune: left aside, for jenga tune" in result.stderr
    assert "batch_size: 8" in next((tmp_path / "out").rglob("config.yml")).read_text()
