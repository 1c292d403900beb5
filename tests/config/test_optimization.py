"""Optimizers and schedules in YAML: each parameter is checked against what its part takes, at its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from jenga.config.load import load_text
from jenga.config.optimization import OptimizerConfig, part_of, unknown_parts, with_parameters
from jenga.config.render import to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.config.yaml12 import read_document
from jenga.errors import ConfigError
from jenga.optimizers import OPTIMIZERS, SCHEDULERS
from jenga.run.build import schema

PARTS = {"optimizer": OPTIMIZERS, "scheduler": SCHEDULERS}
TASKS = "model: {base_model: jenga/tiny-text}\ntasks: [{name: t, type: classification, data_path: x.jsonl}]\n"


def read(training: str) -> ExperimentConfig:
    return load_text(f"training:\n  {training}\n{TASKS}", file="x.yml", schema=schema())


@pytest.mark.parametrize(
    ("training", "part"),
    [
        ("optimizer: adamw", ("adamw", {})),
        ("optimizer: {name: sgd, momentum: 0.9}", ("sgd", {"momentum": 0.9})),
        ("optimizer: {name: adam, betas: [0.8, 0.9]}", ("adam", {"betas": [0.8, 0.9]})),
        ("optimizer: {name: muon, momentum: 0.9}", ("muon", {"momentum": 0.9})),
        ("optimizer: {name: muon, adamw: {eps: 0.1}}", ("muon", {"adamw": {"eps": 0.1}})),
        ("scheduler: cosine", ("cosine", {})),
        ("scheduler: {name: cosine_with_restarts, num_cycles: 2}", ("cosine_with_restarts", {"num_cycles": 2})),
    ],
)
def test_a_part_is_a_name_or_a_mapping_and_comes_back_from_a_runs_yaml(
    training: str, part: tuple[str, Mapping[str, Any]]
) -> None:
    config = read(training)
    key = training.partition(":")[0]
    assert part_of(getattr(config.training, key)) == part
    again = load_text(to_yaml(config), file="again.yml", schema=schema())
    assert again.training == config.training


def test_nothing_said_is_adamw_and_the_schedule_that_fits_it() -> None:
    config = read("seed: 1")
    assert (config.training.optimizer, config.training.scheduler) == ("adamw", None)


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ("optimizer: sdg", "x.yml:2:14: training.optimizer: unknown optimizer 'sdg'; did you mean 'sgd'?"),
        ("optimizer: {name: sdg, x: 1}", "x.yml:2:21: training.optimizer.name: unknown optimizer 'sdg'; did you mean"),
        ("optimizer: lbfgs", "x.yml:2:14: training.optimizer: optimizer 'lbfgs' needs a closure in each step"),
        (
            "optimizer: {name: sgd, momentun: 1}",
            "x.yml:2:26: training.optimizer.momentun: unknown key; did you mean 'momentum'? Known: momentum, damp",
        ),
        (
            "optimizer: {name: sgd, momentum: much}",
            "x.yml:2:36: training.optimizer.momentum: needs a number, got text 'much'",
        ),
        (
            "optimizer: {name: sgd, lr: 1}",
            "training.optimizer.lr: unknown key; it belongs under training, as 'learning_rate'.",
        ),
        (
            "optimizer: {name: sgd, weight_decay: 1}",
            "training.optimizer.weight_decay: unknown key; it belongs under training.",
        ),
        (
            "optimizer: {name: muon, adamw: {beta: 1}}",
            "training.optimizer.adamw.beta: unknown key; did you mean 'betas'? Known: betas, eps",
        ),
        (
            "learning_rate: {rest: 0.1}",
            "x.yml:2:25: training.learning_rate.rest: 'adamw' trains all of a backbone at learning_rate.backbone; "
            "remove it, or choose muon",
        ),
        ("{optimizer: lion, learning_rate: {rest: 0.1}}", "training.learning_rate.rest: 'lion' trains all of"),
        ("optimizer: {momentum: 1}", "training.optimizer.name: required key is missing: Of torch.optim"),
        ("optimizer: 3", "training.optimizer: needs text or a mapping of name, got 3"),
        ("scheduler: cosin", "training.scheduler: unknown scheduler 'cosin'; did you mean 'cosine'?"),
        (
            "scheduler: warmup_stable_decay",
            "training.scheduler: 'warmup_stable_decay' needs num_decay_steps; write scheduler: "
            "{name: warmup_stable_decay, num_decay_steps: ...}",
        ),
        (
            "scheduler: {name: warmup_stable_decay}",
            "training.scheduler.num_decay_steps: required key is missing",
        ),
        (
            "scheduler: {name: cosine, num_warmup_steps: 1}",
            "training.scheduler.num_warmup_steps: unknown key; it belongs under training, as 'warmup_steps'.",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_at_its_place_with_what_is_allowed(training: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(training)
    assert len(caught.value.problems) == 1
    assert words in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read("optimizer: {name: sgd, momentun: 1}\n  scheduler: cosin\n  epochs: none")
    assert [each.key.rpartition(".")[2] for each in caught.value.problems] == ["momentun", "scheduler", "epochs"]


def test_the_short_form_of_a_language_model_has_them_too() -> None:
    text = "model: {name: gpt2}\ndata: {path: x.jsonl}\ntraining:\n  optimizer: {name: sgd, momentun: 1}\n"
    with pytest.raises(ConfigError, match=r"x.yml:4:26: training.optimizer.momentun: unknown key"):
        load_text(text, file="x.yml", schema=schema())
    config = load_text(text.replace("momentun", "momentum"), file="x.yml", schema=schema())
    assert config.training.optimizer == OptimizerConfig(name="sgd", momentum=1)  # type: ignore[call-arg]


def test_a_document_without_such_parts_needs_no_other_schema() -> None:
    document = read_document("training: {optimizer: sgd}\n" + TASKS, file="x.yml")
    assert with_parameters(schema(), document, PARTS).__name__ == "Experiment"
    assert unknown_parts(document, PARTS) == []
    for odd in ("training: {optimizer: [sgd]}", "training: 3", "training: {optimizer: {name: 3}}"):
        document = read_document(f"{odd}\n{TASKS}", file="x.yml")
        assert unknown_parts(document, PARTS) == []


def test_a_rate_that_the_optimizer_has_no_use_for_is_told_in_a_backbones_own_block_too() -> None:
    own = "training: {learning_rate: {rest: 0.1}}"
    text = (
        f"model: {{backbones: {{words: {{backbone_type: text, base_model: jenga/tiny-text, {own}}}}}}}\n"
        "tasks: [{name: t, type: classification, data_path: x.jsonl, backbone: words}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_text(text, file="x.yml", schema=schema())
    assert "x.yml:1:112: model.backbones.words.training.learning_rate.rest: 'adamw' trains all of" in str(caught.value)
    muon = f"{text}training: {{optimizer: muon}}\n"
    assert load_text(muon, file="x.yml", schema=schema()).seen_by("words").training.learning_rate.rest == 0.1  # type: ignore[union-attr]
