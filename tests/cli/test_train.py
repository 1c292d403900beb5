import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

JENGA = [sys.executable, "-c", "from jenga.cli.main import main; main()"]
Invoke = Callable[..., Result]


def test_training_ends_with_a_table_of_each_split_and_the_run(invoke: Invoke, config: Path, tmp_path: Path) -> None:
    result = invoke("train", config, "--output-dir", tmp_path / "out", "--seed", 3)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "valid rows:"
    assert lines[1].split()[:7] == ["task", "head", "metric", "ours", "95%", "majority", "rows"]
    assert {line.split()[0] for line in lines if line.startswith(("mood", "rating"))} == {"mood", "rating"}
    run = Path(lines[-1].removeprefix("run: "))
    assert run.parent == tmp_path / "out" / "mood"
    assert yaml.safe_load((run / "config.yml").read_text())["training"]["seed"] == 3
    assert "step 2/2" in result.stderr
    assert "Traceback" not in result.stderr


def test_json_is_all_that_standard_output_gets(run: Path) -> None:
    # The fixture parsed it; here is what it must hold.
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert set(evaluation["splits"]) == {"valid", "test"}
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_quiet_shows_the_result_only(invoke: Invoke, config: Path, tmp_path: Path) -> None:
    result = invoke("train", config, "--quiet", "--output-dir", tmp_path / "out")
    assert "run: " in result.stdout
    assert "step 2/2" not in result.stderr
    assert "warning" not in result.stderr


def test_print_config_shows_the_resolved_settings_and_trains_nothing(invoke: Invoke, config: Path) -> None:
    result = invoke("train", config, "--print-config", "--set", "training.batch_size=4", "--output-dir", "o 1")
    shown = yaml.safe_load(result.stdout)
    assert shown["training"]["batch_size"] == 4
    assert shown["output_dir"] == "o 1"
    assert shown["tasks"][0]["data_path"] == str(config.parent / "rows.jsonl")
    assert not (config.parent / "runs").exists()


def test_mistakes_in_the_file_come_at_once_with_places(invoke: Invoke, config: Path) -> None:
    config.write_text(config.read_text().replace("batch_size: 8", "batch_sise: 8").replace("classification", "clasify"))
    result = invoke("train", config)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: 2 problems\n")
    assert f"{config}:4:11: tasks[0].type" in result.stderr
    assert "did you mean 'batch_size'?" in result.stderr


def test_missing_data_ends_with_code_three(invoke: Invoke, config: Path) -> None:
    (config.parent / "rows.jsonl").unlink()
    result = invoke("train", config)
    assert result.exit_code == 3
    assert "rows.jsonl: no such file" in result.stderr


def test_unknown_device_is_a_usage_mistake_before_anything_is_read(invoke: Invoke) -> None:
    assert invoke("train", "no-such.yml", "--device", "tpu").exit_code == 2


def interrupted(config: Path, arguments: list[str]) -> tuple[int, str]:
    """Train in another process, interrupt it after its first record, and return its exit code and standard error."""
    process = subprocess.Popen(
        [*JENGA, "train", str(config), *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if line.startswith("step "):
            break
    process.send_signal(signal.SIGINT)
    seen += process.stderr.read()
    process.stderr.close()
    return process.wait(60), seen


@pytest.mark.serial
def test_interrupted_run_saves_and_goes_on_with_resume_auto(invoke: Invoke, config: Path, tmp_path: Path) -> None:
    keys = ("training.max_steps=60", "evaluation.every_steps=60", "checkpoint.every_steps=60")
    settings = [*(part for key in keys for part in ("--set", key)), "--output-dir", str(tmp_path / "out")]
    code, shown = interrupted(config, settings)
    assert code == 130, shown
    assert "error: interrupted at step" in shown
    assert "--resume auto" in shown
    [run] = (tmp_path / "out" / "mood").iterdir()
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    result = invoke("train", config, *settings, "--resume", "auto", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["run"] == str(run)
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines() if "train" in line]
    assert steps == list(range(1, 61))


def test_resume_of_what_is_no_run_is_refused(invoke: Invoke, config: Path, tmp_path: Path) -> None:
    result = invoke("train", config, "--resume", tmp_path)
    assert result.exit_code == 2
    assert "is no run folder" in result.stderr


def test_full_disk_is_told_in_words(invoke: Invoke, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28), "checkpoint")

    monkeypatch.setattr("jenga.run.experiment.train", full)
    result = invoke("train", config)
    assert result.exit_code == 4
    assert result.stderr == "error: checkpoint: No space left on device\n"


def test_changed_rows_go_with_resume(invoke: Invoke, config: Path) -> None:
    result = invoke("train", config, "--changed-rows")
    assert result.exit_code == 2
    assert "--changed-rows goes with --resume" in result.stderr
