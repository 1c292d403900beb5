"""Contradictions are found, and what only looks like one is left alone."""

from __future__ import annotations

import sys

import pytest

from jenga.config.checks import contradictions
from jenga.config.yaml12 import read_document


def keys(text: str) -> list[str]:
    return [each.problem.key for each in contradictions(read_document(text, file="f.yml"))]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("training: {warmup_steps: 10, max_steps: 10}", "training.warmup_steps"),
        ("{training: {rows_per_step: {a: 4}}, tasks: [{name: a}]}", "training.rows_per_step.a"),
        ("{training: {sampler: together, rows_per_step: {b: 4}}, tasks: [{name: a}]}", "training.rows_per_step.b"),
        (
            "{training: {sampler: together}, model: {backbones: {x: {training: {epochs: 3}}}}}",
            "model.backbones.x.training.epochs",
        ),
        ("{training: {fsdp: true, gradient_conflict: upgrad}}", "training.gradient_conflict"),
        ("{training: {fsdp: true, precision: fp16}}", "training.precision"),
        ("{training: {fsdp: true}, stages: [{name: a}], continual: {ewc: {}}}", "continual.ewc"),
        ("{training: {fsdp: true}, stages: [{name: a}], continual: {agem: {}}}", "continual.agem"),
        ("data: {valid_fraction: 0.5, test_fraction: 0.5}", "data.test_fraction"),
        ("data: {valid_fraction: 0.95}", "data.valid_fraction"),
        ("{early_stopping: {}, data: {valid_fraction: 0}, tasks: [{data_path: a}]}", "early_stopping"),
        ("{early_stopping: {}, data: {valid_fraction: 0}, tasks: [{data_path: {train: a}}]}", "early_stopping"),
        ("tasks: [{name: a}, {name: b}, {name: a}]", "tasks[2].name"),
        ("tasks: [{heads: [{name: a}, {name: a}]}]", "tasks[0].heads[1].name"),
        ("tasks: [{name: a, heads: [{name: b_c}]}, {name: a_b, heads: [{name: c}]}]", "tasks[1].heads[0].name"),
        ("tasks: [{name: a, heads: [{name: x}, {name: b}]}, {name: a_b, heads: [{name: c}]}]", "tasks[1].name"),
        ("tasks: [{name: a_b}, {name: a, heads: [{name: b}]}]", "tasks[1].heads[0].name"),
        ("tasks: [{heads: [{num_labels: 2, class_weight: [1]}]}]", "tasks[0].heads[0].class_weight"),
        ("tasks: [{heads: [{num_labels: 2, pos_weight: [1]}]}]", "tasks[0].heads[0].pos_weight"),
        ("tasks: [{heads: [{num_labels: 2, item_weights: [1, 2, 3]}]}]", "tasks[0].heads[0].item_weights"),
        ("tasks: [{data_path: nowhere://bucket/a}]", "tasks[0].data_path"),
        ("training: {tokens_per_step: 512, batch_size: 8}", "training.batch_size"),
        (
            "model: {backbones: {x: {training: {tokens_per_step: 512, batch_size: 8}}}}",
            "model.backbones.x.training.batch_size",
        ),
        (
            "{training: {tokens_per_step: 9, sampler: together, rows_per_step: {a: 4}}, tasks: [{name: a}]}",
            "training.rows_per_step",
        ),
        ("data: {streaming: true}\ntraining: {max_steps: 3, tokens_per_step: 9}", "training.tokens_per_step"),
        (
            "{data: {streaming: true}, training: {max_steps: 3}, "
            "model: {backbones: {x: {training: {tokens_per_step: 9}}}}}",
            "model.backbones.x.training.tokens_per_step",
        ),
        ("data: {streaming: true}", "data.streaming"),
        ("data: {streaming: true, max_rows: 5}\ntraining: {max_steps: 3}", "data.max_rows"),
        ("data: {streaming: true}\ntraining: {max_steps: 3, sampler: temperature}", "training.sampler"),
        ("data: {streaming: true}\ntraining: {max_steps: 3}\ncallbacks: {sentinel: {}}", "callbacks.sentinel"),
        ("tasks: [{data_path: [a, nowhere://x/b]}]", "tasks[0].data_path[1]"),
        ("tasks: [{data_path: {train: a, valid: ' '}}]", "tasks[0].data_path.valid"),
    ],
)
def test_a_contradiction_is_found_at_its_key(text: str, key: str) -> None:
    assert keys(text) == [key]


def test_names_whose_metrics_would_be_one_are_told_with_both_places() -> None:
    text = "tasks:\n- name: a\n  heads: [{name: b_c}]\n- name: a_b\n  heads:\n  - name: c\n"
    (found,) = contradictions(read_document(text, file="f.yml"))
    assert str(found.problem) == (
        "f.yml:6:11: tasks[1].heads[0].name: its metrics would be named 'a_b_c_...', as those of tasks[0].heads[0] at "
        "line 3; rename one"
    )


@pytest.mark.parametrize(
    "text",
    [
        "{training: {sampler: together, rows_per_step: {a: 4}}, tasks: [{name: a}, {name: b}]}",
        "{training: {sampler: together, epochs: 3}, model: {backbones: {x: {training: {epochs: 3}}}}}",
        "{training: {epochs: 2}, model: {backbones: {x: {training: {epochs: 3}}}}}",
        "{training: {fsdp: true, precision: bf16}}",
        "{training: {fsdp: false, gradient_conflict: upgrad}}",
        "training: {warmup_steps: 9, max_steps: 10}",
        "training: {warmup_steps: 10}",
        "{training: {tokens_per_step: 512, batch_size: null}}",
        "{training: {tokens_per_step: 512}, model: {backbones: {x: {training: {batch_size: 8}}}}}",
        "training: {warmup_steps: true, max_steps: 1}",
        "data: {valid_fraction: 0.5, test_fraction: 0.4}",
        "{early_stopping: null, data: {valid_fraction: 0}, tasks: [{data_path: a}]}",
        "{early_stopping: {}, data: {valid_fraction: 0}, tasks: [{data_path: {train: a, valid: b}}]}",
        "{early_stopping: {}, data: {valid_fraction: 0}, tasks: [{data_path: hf://clinc}]}",
        "tasks: [{name: a, heads: [{name: h}]}, {name: b, heads: [{name: h}]}]",
        "tasks: [{name: a, heads: [{name: a}, {name: b}]}, {name: b, heads: [{name: a}, {name: a_b}]}]",
        "tasks: [{heads: [{num_labels: 2, class_weight: balanced}]}]",
        "tasks: [{heads: [{num_labels: two, class_weight: [1]}]}]",
        "tasks: [{heads: [{class_weight: [1, 2, 3]}]}]",
        "tasks: [{type: ner, heads: [{labels: [person], class_weight: [1, 2, 2]}]}]",
        "tasks: [{data_path: hf://clinc/small}, {data_path: jenga/helpline}, {data_path: a:b.csv}]",
        "{tasks: 3, data: [], training: text, early_stopping: 4}",
        "tasks: [3, {heads: 4}, {heads: [5]}, {name: [6], data_path: 7}, {data_path: [8]}]",
    ],
)
def test_what_is_no_contradiction_is_left_alone(text: str) -> None:
    assert keys(text) == []


@pytest.mark.parametrize("asked", ["enabled: true", "uri: 'http://host:5000'", "experiment: calls", "tags: {team: a}"])
def test_tracking_that_is_asked_for_needs_mlflow(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    document = read_document(f"seed: 0\ntracking:\n  {asked}\n", file="f.yml")
    assert not contradictions(document)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    (found,) = contradictions(document)
    key = asked.partition(":")[0]
    assert str(found.problem) == (
        f"f.yml:3:{5 + len(key)}: tracking.{key}: needs MLflow, which is not installed here: pip install "
        "'jenga[track]'; or set tracking.enabled: false"
    )


@pytest.mark.parametrize("text", ["tracking: {enabled: false, uri: x}", "tracking: {log_model: true}", "seed: 0"])
def test_tracking_that_is_not_asked_for_needs_nothing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert keys(text) == []
