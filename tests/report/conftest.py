"""A run folder as the trainer leaves it, with four kinds of heads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.labels import kind_named
from jenga.labels.judge import head_details, head_metrics, labelled_rows
from jenga.types import HeadSpace

CONFIG = """\
project_name: helpline
model: {base_model: distilbert-base-uncased, backbone_type: text}
tasks:
- {name: QA, type: qa_scoring, data_path: /home/someone/secret/calls.jsonl}
- {name: Mood, type: classification, data_path: {train: [mood.jsonl], valid: null}}
- {name: NER, type: ner, data_path: /home/someone/secret/calls.jsonl}
- {name: Wait, type: regression, data_path: wait.csv}
data: {max_length: 256}
training: {epochs: 3, batch_size: 32, learning_rate: {backbone: 5.0e-05, heads: 0.0005}}
tracking: {uri: 'http://user:password@tracking.example/'}
"""


def _evaluated(space: HeadSpace, predictions: Any, targets: Any, **baselines: Any) -> dict[str, Any]:
    """Return a head as evaluation.json has it; `baselines`: predictions by name."""
    return {
        "task": space.task,
        "head": space.head,
        "kind": space.kind,
        "labels": list(space.labels),
        "rows": labelled_rows(space, targets),
        "primary_metric": kind_named(space.kind).metrics[0].name,
        "greater_is_better": kind_named(space.kind).metrics[0].greater_is_better,
        "metrics": head_metrics(space, predictions, targets),
        "details": head_details(space, predictions, targets),
        "baselines": {name: head_metrics(space, guess, targets) for name, guess in baselines.items()},
    }


def _heads(rows: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    items = HeadSpace("QA", "opening", "items", 3, ("greeted", "gave <b>name</b>", "asked | consent"))
    answers = (rng.random((rows, 3)) < 0.4).astype(float)
    answers[rng.random((rows, 3)) < 0.1] = np.nan
    ticked = np.where(rng.random((rows, 3)) < 0.85, np.nan_to_num(answers), 0) > 0.5
    mood = HeadSpace("Mood", "label", "class", 3, ("calm", "<script>alert(1)</script>", "cost $x^ {"))
    moods = rng.choice(3, rows, p=(0.6, 0.3, 0.1))
    ner = HeadSpace("NER", "entities", "tags", 5, ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
    tags = [rng.choice([0, 0, 0, 1, 3], 12) for _ in range(rows)]
    wait = HeadSpace("Wait", "value", "number", 1, ("minutes",))
    minutes = rng.gamma(2, 10, (rows, 1))
    return [
        _evaluated(items, ticked, answers, majority=np.zeros_like(ticked)),
        _evaluated(mood, np.where(rng.random(rows) < 0.8, moods, 0), moods, majority=np.zeros(rows, int), tfidf=moods),
        _evaluated(ner, [np.where(rng.random(12) < 0.9, row, 0) for row in tags], tags),
        _evaluated(wait, minutes + rng.normal(0, 5, (rows, 1)), minutes, majority=np.full((rows, 1), 20.0)),
    ]


def _records(steps: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    records: list[dict[str, Any]] = []
    tasks = {"QA": 0.7, "Mood": 1.1, "NER": 2.0, "Wait": 0.9}
    for step in range(1, steps + 1):
        fall = 0.3 + 0.7 * np.exp(-step / 60)
        losses = {task: float(start * fall * rng.lognormal(0, 0.15)) for task, start in tasks.items()}
        rate = min(step / 20, 1 - step / (steps + 20))
        records.append(
            {
                "event": "train",
                "step": step,
                "epoch": step / 100,
                "loss": sum(losses.values()),
                "task_loss": losses,
                "head_loss": {},
                "learning_rate": {"backbone": 5e-5 * rate, "heads": 5e-4 * rate},
                "grad_norm": 0.9,
                "rows": 32 * step,
                "time_s": float(step),
            }
        )
        if step % 50 == 0:
            metrics = {f"eval_{task}_loss": start * fall for task, start in tasks.items()}
            metrics["eval_loss"] = sum(metrics.values())
            for name in ("QA_opening_macro_f1", "Mood_label_macro_f1", "NER_entities_f1"):
                metrics[f"eval_{name}"] = 1 - 0.8 * fall
            metrics["eval_Wait_value_mae"] = 20 * fall
            records.append({"event": "eval", "step": step, "epoch": step / 100, "metrics": metrics, "time_s": 9.5})
    return records


@pytest.fixture
def records() -> list[dict[str, Any]]:
    """300 training steps of four tasks with an evaluation every 50."""
    return _records(300)


@pytest.fixture
def run(tmp_path: Path, finished_run: Path) -> Path:
    """A finished run's folder, free to be changed."""
    return shutil.copytree(finished_run, tmp_path / finished_run.name)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "2030-01-01_00-00-00"
    folder.mkdir()
    (folder / "config.yml").write_text(CONFIG)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in _records(300)))
    environment = {"versions": {"python": "3.11", "torch": "2.13"}, "device": "cpu", "cores": 2}
    (folder / "environment.json").write_text(json.dumps(environment))
    state = {
        "status": "finished",
        "created": "2030-01-01T00:00:00+00:00",
        "seconds": 321.5,
        "rows": {"train": 2400, "valid": 300, "test": 300},
        "parameters": 66_362_880,
        "warnings": ["QA.opening: 'asked | consent' has few rows"],
        "pretrained": True,
        "inputs": {"data": {"tokens of a text": "256"}, "limits": ["Only what <b>fits</b> is read."]},
    }
    (folder / "run.json").write_text(json.dumps(state))
    splits = {split: {"rows": 300, "metrics": {"loss": 1.5}, "heads": _heads(300)} for split in ("valid", "test")}
    evaluation = {"project": "helpline", "best_step": 250, "metric": "eval_loss", "splits": splits}
    # The trainer writes strict JSON too: a NaN among the results is a bug.
    (folder / "evaluation.json").write_text(json.dumps(evaluation, allow_nan=False))
    return folder


@pytest.fixture
def language_run(run: Path) -> Path:
    """A finished run of a language model that a teacher taught."""
    answers = [
        {"id": "r0", "prompt": "is <b>3</b> even", "expected": "no", "answer": "no", "match": True},
        {"id": "r1", "prompt": "", "expected": "never & again\nyes", "answer": "", "error": "no room", "match": False},
    ]
    head = {
        "task": "lm", "head": "text", "kind": "text", "labels": [], "rows": 12, "primary_metric": "perplexity",
        "greater_is_better": False, "metrics": {"perplexity": 12.5, "exact_match": 0.5},
        "details": {"warnings": [], "answers": answers},
        "baselines": {},
    }  # fmt: skip
    splits = {"valid": {"rows": 12, "metrics": {"loss": 2.5, "lm_loss": 2.5}, "heads": [head]}}
    evaluation = {"project": "helpline", "best_step": 250, "metric": "eval_loss", "splits": splits}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    (run / "config.yml").write_text(
        """\
project_name: helpline
model:
  base_model: /home/someone/small
  teacher_student_config: {enabled: true, teacher_model: /home/someone/big}
tasks: [{name: lm, type: causal_lm, data_path: /home/someone/secret/rows.jsonl}]
data: {max_length: 256}
"""
    )
    return run
