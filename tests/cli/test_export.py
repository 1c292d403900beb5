"""`jenga export`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Invoke = Callable[..., Result]


@pytest.fixture
def adapted(invoke: Invoke, config: Path, tmp_path: Path, tiny_bert: Path) -> Callable[[str], Path]:
    """Return a function that trains a step with adapters of a type and returns the run's folder."""

    def make(kind: str) -> Path:
        options = [f"model.base_model={tiny_bert}", f"peft.type={kind}", "training.max_steps=1"]
        sets = [part for each in options for part in ("--set", each)]
        result = invoke("train", config, "--json", "--output-dir", tmp_path / "runs", *sets)
        assert result.exit_code == 0, result.stderr
        return Path(json.loads(result.stdout)["run"])

    return make


def test_an_exported_model_is_named_and_answers(invoke: Invoke, adapted: Callable[[str], Path], tmp_path: Path) -> None:
    run, output = adapted("lora"), tmp_path / "merged"
    result = invoke("export", run, "-o", output, "--merge", "--dtype", "bf16")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"wrote {output}: ")
    state = json.loads((run / "run.json").read_text())
    assert 0 < state["trained"] < state["parameters"]
    answers = [invoke("predict", folder, "--text", "we are good") for folder in (run, output)]
    assert [each.exit_code for each in answers] == [0, 0]
    labels = [json.loads(each.stdout)["mood"]["feeling"]["label"] for each in answers]
    assert labels[0] == labels[1]


def test_what_is_refused_has_its_code(invoke: Invoke, adapted: Callable[[str], Path], tmp_path: Path) -> None:
    run = adapted("adapter")
    result = invoke("export", run, "-o", tmp_path / "new", "--merge")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "error: bottleneck adapters (peft.type: adapter) cannot be merged" in result.stderr
    assert invoke("export", run, "-o", tmp_path).exit_code == 2
    assert invoke("export", tmp_path, "-o", tmp_path / "new").exit_code == 4
    assert invoke("export", run).exit_code == 2
    assert not (tmp_path / "new").exists()


def test_a_base_that_has_moved_is_named_on_the_command_line(
    invoke: Invoke, adapted: Callable[[str], Path], tiny_bert: Path, tmp_path: Path
) -> None:
    run = adapted("dora")
    config = run / "best" / "backbone" / "adapter_config.json"
    assert str(tiny_bert) in config.read_text()
    moved = shutil.copytree(tiny_bert, tmp_path / "moved")
    predict = ("predict", run, "--text", "we are good")
    assert invoke(*predict, "--base-model", moved).stdout == invoke(*predict).stdout != ""
    data = tmp_path / "rows.csv"
    data.write_text("text,label\nwe are good,good\n")
    assert invoke("evaluate", run, "--data", data, "--base-model", moved).exit_code == 0
    for command in (predict, ("evaluate", run, "--data", data), ("export", run, "-o", tmp_path / "new", "--merge")):
        result = invoke(*command, "--base-model", tmp_path / "nowhere")
        assert (result.exit_code, result.stdout) == (4, "")
        assert f"their base '{tmp_path / 'nowhere'}' cannot be loaded" in result.stderr


def test_a_folder_of_graphs_is_asked_like_a_run(invoke: Invoke, event_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    made, rows = tmp_path / "onnx", event_run.parents[1] / "flows.json"
    result = invoke("export", event_run, "-o", made, "--format", "onnx", "--int8", "dynamic")
    assert result.exit_code == 0, result.stderr
    *told, last = result.stdout.splitlines()
    assert last.startswith(f"wrote {made}: ")
    assert told, "what 8 bits cost is told"
    assert all("  fp32 " in line and "  int8 " in line for line in told)
    answers = invoke("predict", made, rows, "--no-drivers")
    assert answers.exit_code == 0, answers.stderr
    assert invoke("predict", made, rows, "--runtime", "onnx", "--no-drivers").stdout == answers.stdout != ""
    refused = invoke("predict", made, rows, "--runtime", "torch")
    assert refused.exit_code == 2
    assert "--runtime torch" in refused.stderr
    assert invoke("export", event_run, "-o", tmp_path / "new", "--format", "onnx", "--merge").exit_code == 2
