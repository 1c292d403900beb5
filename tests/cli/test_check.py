import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Invoke = Callable[..., Result]


def files(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of this test."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_good_experiment_is_fine_and_nothing_is_written(
    invoke: Invoke, config: Path, own_cache: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    before = files(config.parent)
    result = invoke("check", config.name)
    assert result.exit_code == 0, result.stderr
    assert files(config.parent) == before
    assert before
    assert files(own_cache) == {}
    # torch makes an empty folder of its own.
    assert [path for path in files(scratch) if "torchinductor" not in path.name] == []
    assert "mood.yml is fine: 2 steps of up to 8 rows on " in result.stdout


def test_json_tells_label_spaces_rows_losses_and_parameters(invoke: Invoke, config: Path) -> None:
    found = json.loads(invoke("check", config, "--json", "--device", "cpu").stdout)
    mood, rating = found["heads"]
    assert mood == {
        "task": "mood", "head": "feeling", "kind": "class", "labels": ["bad", "fine", "good"], "train_rows": 48,
        "valid_rows": 6, "test_rows": 6,
    }  # fmt: skip
    assert rating["kind"] == "number"
    assert [(step["task"], step["rows"]) for step in found["steps"]] == [("mood", 8), ("rating", 8)]
    assert all(step["loss"] > 0 and step["tokens"] > 3 for step in found["steps"])
    parts = {part["part"]: part for part in found["parts"]}
    assert list(parts) == ["backbone", "task mood", "task rating", "all"]
    assert parts["task mood"]["parameters"] == 128 * 3 + 3
    assert parts["all"]["parameters"] == sum(part["parameters"] for part in found["parts"]) // 2
    # float32: the value, its gradient and two moments of Adam
    assert parts["all"]["training_bytes"] == 16 * parts["all"]["trained"]
    assert found["total_steps"] == 2
    assert found["device"] == "cpu"
    assert found["peak_mib"] > 100


def test_epochs_are_counted_in_steps(invoke: Invoke, config: Path) -> None:
    arguments = ["--set", "training.max_steps=null", "--set", "training.epochs=2", "--json"]
    # Two sources of columns but one of rows: 48 rows make 6 turns of 8.
    assert json.loads(invoke("check", config, *arguments).stdout)["total_steps"] == 12


def test_steps_by_tokens_are_told(invoke: Invoke, config: Path) -> None:
    arguments = ["--set", "training.batch_size=null", "--set", "training.tokens_per_step=24"]
    found = json.loads(invoke("check", config, *arguments, "--json").stdout)
    assert (found["rows_per_step"], found["tokens_per_step"]) == (None, 24)
    assert all(step["rows"] * step["tokens"] <= 24 for step in found["steps"])
    assert "steps of up to 24 tokens, or one longer row, on" in invoke("check", config, *arguments).stdout


def test_unknown_metric_is_found(invoke: Invoke, config: Path) -> None:
    result = invoke("check", config, "--set", "evaluation.metric=eval_mood_feeling_f1")
    assert result.exit_code == 2
    assert "did you mean 'eval_mood_feeling_macro_f1'?" in result.stderr


def test_an_optimizer_that_cannot_train_is_found(invoke: Invoke, config: Path) -> None:
    result = invoke("check", config, "--set", "training.optimizer={name: sgd, nesterov: true}")
    assert result.exit_code == 2
    assert "training.optimizer: 'sgd' cannot train this model: Nesterov momentum requires" in result.stderr


def test_the_rates_of_layers_and_the_memory_of_an_average_are_told(invoke: Invoke, config: Path) -> None:
    arguments = ("--set", "training.layer_decay=0.5", "--set", "training.ema=0.9", "--json", "--device", "cpu")
    found = json.loads(invoke("check", config, *arguments).stdout)
    assert "x 0.5 of backbone for each layer before the last" in found["training"]
    whole = found["parts"][-1]
    assert whole["training_bytes"] == 20 * whole["trained"]


def test_bad_rows_end_with_code_three_and_a_few_are_a_warning(invoke: Invoke, config: Path) -> None:
    rows = config.parent / "rows.jsonl"
    rows.write_text(rows.read_text() + '{"text": "", "label": "good", "stars": 1}\n')
    result = invoke("check", config)
    assert result.exit_code == 3
    assert "rows.jsonl:61: column 'text' is empty" in result.stderr
    result = invoke("check", config, "--set", "data.max_bad_fraction=0.1")
    assert result.exit_code == 0
    assert "warning: 1 rows cannot be used; the first: " in result.stderr


def test_loss_that_is_not_finite_is_found(invoke: Invoke, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from jenga.tasks.classification import ClassificationTask

    forward = ClassificationTask.get_forward_output

    def broken(self, encoder_outputs, labels=None):  # type: ignore[no-untyped-def]
        output = forward(self, encoder_outputs, labels)
        output.loss = output.loss * torch.tensor(float("inf"))
        return output

    monkeypatch.setattr(ClassificationTask, "get_forward_output", broken)
    result = invoke("check", config)
    assert result.exit_code == 5
    assert "task 'mood': its loss (inf) or a gradient of it is not finite" in result.stderr


def test_loss_that_moves_nothing_is_found(invoke: Invoke, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jenga.tasks.regression import RegressionTask

    forward = RegressionTask.get_forward_output

    def idle(self, encoder_outputs, labels=None):  # type: ignore[no-untyped-def]
        output = forward(self, encoder_outputs, labels)
        output.loss = output.loss * 0
        return output

    monkeypatch.setattr(RegressionTask, "get_forward_output", idle)
    result = invoke("check", config)
    assert result.exit_code == 5
    assert "task 'rating': its loss moves none of its parameters" in result.stderr


def test_an_experiment_on_events_is_tried_with_its_features(invoke: Invoke, event_run: Path) -> None:
    result = invoke("check", event_run.parents[1] / "flows.yml", "--json")
    assert result.exit_code == 0, result.stderr
    (step,) = json.loads(result.stdout)["steps"]
    assert (step["task"], step["rows"]) == ("find", 8)
    assert step["features"] > 20
    assert "tokens" not in step


def test_the_parameters_that_are_trained_are_told(invoke: Invoke, config: Path, tiny_bert: Path) -> None:
    sets = ["--set", f"model.base_model={tiny_bert}", "--set", "peft={type: lora, rank: 2, target: [query]}"]
    whole = json.loads(invoke("check", config, "--json", *sets).stdout)["parts"][-1]
    heads = (16 + 1) * (3 + 1)
    assert whole["trained"] == 2 * (16 + 16) + heads
    assert whole["parameters"] > 10 * whole["trained"]
    lines = invoke("check", config, *sets).stdout.splitlines()
    assert f"{whole['trained']:,} of {whole['parameters']:,} parameters are trained" in lines
