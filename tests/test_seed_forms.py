"""The three YAML forms of the architecture page, as they stand there."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import jenga
from jenga.cli import main
from jenga.run import experiment
from jenga.samples.network import generate_flows

pytestmark = pytest.mark.usefixtures("without_report")

NLP = """\
project_name: "JengaAI_NLP"
model:
  base_model: "distilbert-base-uncased"
  backbone_type: "text"  # Optional (default)
tasks:
  - name: "QAScoring"
    type: "multi_label_classification"
    data_path: "./qa_data.json"
    heads:
      - name: "opening"
        num_labels: 5
"""
SECURITY = """\
project_name: "JengaAI_Security"
model:
  base_model: "security_mlp_v1"
  backbone_type: "sequential"  # Required
tasks:
  - name: "ThreatDetection"
    type: "anomaly_detection"
    data_path: "./network_traffic.json"
    heads:
      - name: "threat"
        num_labels: 2
"""
LLM = """\
model:
  name: "distilgpt2"
  teacher_student_config:
    enabled: true
    teacher_model: "gpt2-medium"
    distillation_alpha: 0.5
    temperature: 2.0
"""
N_ROWS = 24


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command line sends warnings to standard error; take that back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with warnings.catch_warnings():
        yield
    root.handlers = handlers
    root.setLevel(level)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main.jenga, [str(argument) for argument in arguments], prog_name="jenga")


@pytest.fixture
def nlp(tmp_path: Path) -> Path:
    """The NLP form beside calls scored on five items, some of which do not apply."""
    rows = [
        {
            "text": f"hello is it call number {number} thanks",
            "labels": {
                "opening": [number % 2, (None, 1, 1)[number % 3], 0, int(number % 5 == 0), (1, None)[number % 2]]
            },
        }
        for number in range(N_ROWS)
    ]
    (tmp_path / "qa_data.json").write_text(json.dumps(rows), encoding="utf-8")
    path = tmp_path / "experiment.yml"
    path.write_text(NLP, encoding="utf-8")
    return path


def small(tmp_path: Path, model: Path) -> list[str]:
    return [
        f"model.base_model={model}", "training.max_steps=2", "training.batch_size=8", "training.log_every_steps=1",
        "data.max_length=32", "tracking.enabled=false", f"output_dir={tmp_path / 'runs'}",
    ]  # fmt: skip


def test_the_nlp_form_loads_as_it_stands(nlp: Path) -> None:
    config = experiment.load_config(nlp)
    assert config.project_name == "JengaAI_NLP"
    assert config.model.base_model == "distilbert-base-uncased"
    assert config.tasks[0].heads[0].num_labels == 5


def test_the_nlp_form_trains_two_steps_and_predicts_its_items(nlp: Path, tmp_path: Path, tiny_bert: Path) -> None:
    result = experiment.train(nlp, overrides=small(tmp_path, tiny_bert), device="cpu")
    assert result.run.parent == tmp_path / "runs" / "JengaAI_NLP"
    records = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    losses = [record["head_loss"]["QAScoring"]["opening"] for record in records if record["event"] == "train"]
    assert len(losses) == 2
    assert all(0 < loss < 5 for loss in losses)
    head = result.evaluation["splits"]["valid"]["heads"][0]
    assert (head["kind"], len(head["labels"])) == ("items", 5)
    answer = jenga.load(result.run, device="cpu").predict(["hello thanks"])[0]
    assert list(answer["QAScoring"]["opening"]) == ["0", "1", "2", "3", "4"]


def test_items_that_do_not_apply_are_no_zeros(nlp: Path, tmp_path: Path, tiny_bert: Path) -> None:
    config = experiment.load_config(nlp, small(tmp_path, tiny_bert))
    built = experiment.build(config, tmp_path)
    labels = built.sources[0].splits["train"].rows.labels["QAScoring", "opening"]
    given = json.loads((tmp_path / "qa_data.json").read_text())
    rows = {int(name) - 1: row for name, row in zip(built.sources[0].splits["train"].rows.ids, labels, strict=True)}
    for number, row in rows.items():
        wanted = given[number]["labels"]["opening"]
        assert [None if value != value else int(value) for value in row] == wanted


@pytest.mark.parametrize("command", ["check", "train"])
def test_the_nlp_form_runs_from_the_command_line(command: str, nlp: Path, tmp_path: Path, tiny_bert: Path) -> None:
    settings = [word for each in small(tmp_path, tiny_bert) for word in ("--set", each)]
    done = run(command, nlp, *settings, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert "QAScoring" in done.stdout
    assert (tmp_path / "runs").exists() == (command == "train")


# ------------------------------------------------------------------------------------------------------------ security


@pytest.fixture
def security(tmp_path: Path) -> Path:
    """The security form beside a flat list of flows."""
    (tmp_path / "network_traffic.json").write_text(json.dumps(generate_flows(600), indent=1), encoding="utf-8")
    path = tmp_path / "security.yml"
    path.write_text(SECURITY, encoding="utf-8")
    return path


def test_the_security_form_trains_as_it_stands_and_its_loss_falls(
    security: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = experiment.train(security, overrides=["tracking.enabled=false"], device="cpu")
    records = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    losses = [record["metrics"]["eval_loss"] for record in records if record["event"] == "eval"]
    assert len(losses) == 100  # 480 rows: the most passes of the backbone's recipe
    assert min(losses) < 0.6 * losses[0]
    assert result.metrics["test_ThreatDetection_threat_auroc"] > 0.8
    assert result.run.resolve().parent == tmp_path / "runs" / "JengaAI_Security"


def test_a_model_of_the_security_form_answers_flows_as_they_come(security: Path, tmp_path: Path) -> None:
    small = ["tracking.enabled=false", "training.max_steps=2", f"output_dir={tmp_path / 'runs'}"]
    trained = experiment.train(security, overrides=small, device="cpu").run
    flow = generate_flows(1, seed=1)[0]
    odd = [
        {name: None if value is None else str(value) for name, value in flow.items()},
        dict.fromkeys(flow),
        {**flow, "service": "gopher", "tcp_flags": "NEW"},
        {"id": "bare", "bytes_out": 5},
    ]
    (tmp_path / "new.json").write_text(json.dumps(odd), encoding="utf-8")
    done = run("predict", trained, tmp_path / "new.json", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(odd)
    # What has next to none of the model's fields is no event of its kind.
    assert ["error" in answer for answer in answers] == [False, False, False, True]
    assert "lacks" in answers[3]["error"]
    assert all(0 <= answer["ThreatDetection"]["threat"]["score"] <= 1 for answer in answers[:3])


def test_renamed_flows_are_answered_with_a_word_while_any_field_is_left(security: Path, tmp_path: Path) -> None:
    small = ["tracking.enabled=false", "training.max_steps=2", f"output_dir={tmp_path / 'runs'}"]
    trained = experiment.train(security, overrides=small, device="cpu").run
    flows = [{name.replace("bytes_", "n_bytes_"): value for name, value in flow.items()} for flow in generate_flows(3)]
    (tmp_path / "new.json").write_text(json.dumps(flows), encoding="utf-8")
    done = run("predict", trained, tmp_path / "new.json", "--device", "cpu")
    assert done.exit_code == 0
    assert "no event has 'bytes_out' (did you mean 'n_bytes_out'?)" in done.stderr
    (tmp_path / "new.json").write_text(json.dumps([{f"x_{at}": 1} for at in range(3)]), encoding="utf-8")
    done = run("predict", trained, tmp_path / "new.json", "--device", "cpu")
    assert done.exit_code == 3
    assert "none of the 3 rows can be used" in done.stderr
    assert done.stdout.count("the event has none of the fields that the model reads") == 3


@pytest.mark.parametrize("command", ["check", "train"])
def test_the_security_form_runs_from_the_command_line(command: str, security: Path, tmp_path: Path) -> None:
    settings = ["--set", "training.max_steps=2", "--set", "tracking.enabled=false", "--output-dir", tmp_path / "runs"]
    settings = settings if command == "train" else settings[:4]
    done = run(command, security, *settings, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert "ThreatDetection" in done.stdout
    assert (tmp_path / "runs").exists() == (command == "train")


# ------------------------------------------------------------------------------------------------------- the LLM form


@pytest.fixture
def llm(tmp_path: Path) -> Path:
    """The LLM form beside questions and answers."""
    rows = [{"prompt": f"is {n} even", "completion": "yes" if n % 2 == 0 else "no"} for n in range(N_ROWS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = tmp_path / "llm_config.yml"
    path.write_text(LLM, encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["check", "train"])
def test_the_llm_form_without_data_names_the_key(command: str, llm: Path) -> None:
    done = run(command, llm)
    assert done.exit_code == 2
    assert "data.path: required key is missing" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["check", "train"])
def test_the_llm_form_as_it_stands_fails_only_for_want_of_the_hub(command: str, llm: Path) -> None:
    done = run(command, llm, "--set", "data.path=rows.jsonl")
    assert done.exit_code == 4
    assert "cannot load 'distilgpt2'" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in llm.parent.iterdir()} == {"llm_config.yml", "rows.jsonl"}


def test_the_llm_form_trains_end_to_end_on_models_of_gpt2s_shape(llm: Path, make_gpt2: Callable[..., Path]) -> None:
    small, big = make_gpt2(layers=2, width=16, positions=256), make_gpt2(layers=4, positions=256, seed=1)
    settings = {
        "data.path": "rows.jsonl", "model.name": small, "model.teacher_student_config.teacher_model": big,
        "training.epochs": 1, "training.batch_size": 8, "generation.max_new_tokens": 3, "tracking.enabled": "false",
        "output_dir": llm.parent / "runs",
    }  # fmt: skip
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    checked = run("check", llm, *given, "--device", "cpu")
    assert checked.exit_code == 0, checked.stderr
    assert not (llm.parent / "runs").exists()
    done = run("train", llm, *given, "--device", "cpu", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"]["eval_lm_text_perplexity"] > 1
    assert len(found["evaluation"]["splits"]["test"]["heads"][0]["details"]["answers"]) > 0
    answered = run("generate", found["run"], "--prompt", "is 3 even", "--max-new-tokens", "2", "--device", "cpu")
    assert answered.exit_code == 0, answered.stderr
