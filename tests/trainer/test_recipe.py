"""The numbers of a training that the configuration leaves open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jenga.config.render import config_digest
from jenga.config.schema import ExperimentConfig
from jenga.config.training import LearningRates, TrainingConfig
from jenga.errors import ConfigError
from jenga.modalities import Recipe
from jenga.modalities.text.settings import ModelConfig
from jenga.run import experiment
from jenga.run.build import build
from jenga.trainer.recipe import batch_size, epochs, evaluation_batch_sizes, resolve, rows_of_pass, told
from jenga.trainer.run import RunFolder

BASE = Recipe.pretrained(768)


@pytest.mark.parametrize(
    ("n_rows", "passes"),
    [(1, 20), (1_000, 20), (3_000, 7), (10_000, 3), (50_000, 3), (150_000, 2), (10_000_000, 1)],
)
def test_small_data_get_more_passes_and_huge_ones_fewer(n_rows: int, passes: int) -> None:
    assert epochs(BASE, n_rows) == passes


@pytest.mark.parametrize(("n_rows", "rows"), [(1, 8), (1_023, 8), (1_024, 16), (2_047, 16), (2_048, 32), (10**6, 32)])
def test_small_data_get_smaller_steps(n_rows: int, rows: int) -> None:
    assert batch_size(BASE, n_rows) == rows


def test_wider_encoders_learn_at_lower_rates_and_the_usual_ones_at_the_usual_rate() -> None:
    assert [Recipe.pretrained(width).rates["backbone"] for width in (384, 768, 1024, 4096)] == [
        1e-4, 5e-5, 3.8e-5, 9.4e-6,
    ]  # fmt: skip
    assert Recipe.pretrained(16).rates["backbone"] == 1e-4, "not without end"


def test_what_starts_from_nothing_learns_faster_and_longer() -> None:
    new, trained = Recipe.from_nothing(128), Recipe.pretrained(128)
    assert min(new.rates.values()) > max(trained.rates.values())
    assert epochs(new, 240) > epochs(trained, 240)
    assert [new.by_answers, trained.by_answers] == [False, False], "that of text alone is measured"


def test_given_numbers_stay() -> None:
    given = TrainingConfig(epochs=2, batch_size=5, learning_rate=LearningRates(heads=0.5), warmup_steps=7)
    found = resolve(given, BASE, [100], ["backbone", "heads"])
    assert (found.epochs, found.batch_size, found.warmup_steps) == (2, 5, 7)
    assert found.learning_rate == LearningRates(backbone=5e-5, heads=0.5)


def test_one_rate_is_for_all_groups() -> None:
    found = resolve(TrainingConfig(learning_rate=0.25), BASE, [100], ["adapters", "fusion", "heads"])
    assert found.learning_rate == LearningRates(adapters=0.25, fusion=0.25, heads=0.25)


def test_weights_decay_as_the_encoder_has_it_where_nothing_is_said() -> None:
    recipe = replace(BASE, weight_decay=0.3)
    for given, wanted in ((None, 0.3), (0.0, 0.0), (0.1, 0.1)):
        assert resolve(TrainingConfig(weight_decay=given), recipe, [100], ["heads"]).weight_decay == wanted
    assert resolve(TrainingConfig(), BASE, [100], ["heads"]).weight_decay == 0.01


def test_a_decay_of_the_encoders_own_is_told() -> None:
    recipe, given = replace(BASE, weight_decay=0.3), TrainingConfig(max_steps=9, batch_size=4, learning_rate=0.1)
    assert lines(given, resolve(given, recipe, [9], ["heads"]), 9) == (
        "training: 9 steps of 4 rows; rates heads 0.1; weight decay 0.3; by the rows and the encoder: weight_decay"
    )


def test_two_sources_are_seen_as_often_as_one() -> None:
    assert resolve(TrainingConfig(), BASE, [3_000, 3_000], ["heads"]).epochs == epochs(BASE, 3_000)


def test_the_rest_beside_hidden_matrices_has_the_backbones_rate_where_none_is_given() -> None:
    groups = ["backbone", "rest", "heads"]
    for given, rest in (({}, 5e-5), ({"backbone": 0.02}, 0.02), ({"backbone": 0.02, "rest": 1e-3}, 1e-3)):
        found = resolve(TrainingConfig(learning_rate=LearningRates(**given)), BASE, [100], groups)
        assert found.learning_rate.rest == rest


def test_the_schedule_is_linear_where_none_is_given_and_constant_for_optimizers_that_average() -> None:
    assert resolve(TrainingConfig(), BASE, [100], ["heads"]).scheduler == "linear"
    assert resolve(TrainingConfig(scheduler="cosine"), BASE, [100], ["heads"]).scheduler == "cosine"
    pytest.importorskip("pytorch_optimizer", reason="jenga[optimizers] is not there")
    assert resolve(TrainingConfig(optimizer="schedulefreeadamw"), BASE, [100], ["heads"]).scheduler == "constant"


def test_layer_decay_is_told(settings: Callable[..., Any]) -> None:
    given = TrainingConfig(max_steps=9, batch_size=4, learning_rate=0.1, layer_decay=0.8)
    found = resolve(given, BASE, [9], ["backbone", "heads"])
    assert lines(given, found, 9).endswith("heads 0.1; x 0.8 of backbone for each layer before the last")


def test_layer_decay_of_a_backbone_without_layers_is_refused(
    event_settings: Callable[..., Any], tmp_path: Path
) -> None:
    model = {"base_model": "mlp", "hidden_sizes": [8]}
    given = event_settings(model=model, training={"layer_decay": 0.8})
    with pytest.raises(
        ConfigError, match=r"training.layer_decay: SequentialBackbone \('mlp'\) tells of no layers by its"
    ):
        build(experiment.load_config(given), tmp_path / "work")


def lines(given: TrainingConfig, found: TrainingConfig, steps: int) -> str:
    """Return what is told of a training of one backbone."""
    block = ModelConfig(base_model="x")
    configs = (ExperimentConfig.model_construct(model=block, training=each) for each in (given, found))
    return "\n".join(told(*configs, steps))


def test_the_line_tells_what_was_chosen_and_only_that() -> None:
    given = TrainingConfig(epochs=2, learning_rate=LearningRates(heads=0.5))
    assert lines(given, resolve(given, BASE, [3_000], ["backbone", "heads"]), 188) == (
        "training: 2 epochs (188 steps) of 32 rows; rates backbone 5e-05, heads 0.5; by the rows and the encoder: "
        "batch_size, learning_rate.backbone"
    )
    whole = TrainingConfig(max_steps=9, batch_size=4, learning_rate=0.1)
    assert lines(whole, resolve(whole, BASE, [9], ["heads"]), 9) == "training: 9 steps of 4 rows; rates heads 0.1"


def test_steps_by_tokens_are_told_and_leave_no_number_of_rows_open() -> None:
    given = TrainingConfig(epochs=2, tokens_per_step=1024, learning_rate=0.1)
    found = resolve(given, BASE, [3_000], ["heads"])
    assert found.batch_size is None
    assert (
        lines(given, found, 188) == "training: 2 epochs (188 steps) of 1,024 tokens, or one longer row; rates heads 0.1"
    )


def test_where_nobody_counts_tokens_a_pass_has_as_many_rows_as_fit_at_any_rate() -> None:
    given = {"gradient_accumulation_steps": 2, "learning_rate": 0.1}
    by_tokens, by_rows = (
        resolve(TrainingConfig(**given, **each), BASE, [9], [])
        for each in ({"tokens_per_step": 1024}, {"batch_size": 8})
    )
    assert [rows_of_pass(by_tokens, longest) for longest in (100, 512, 4096)] == [5, 1, 1]
    assert rows_of_pass(by_rows, 4096) == 8


def test_the_longest_row_that_any_task_keeps_decides_how_many_fit(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    training = {"tokens_per_step": 64, "batch_size": None, "epochs": 1}
    content = settings("mood", data={"max_length": 6}, training=training)
    content["tasks"][0]["max_length"] = 32
    built = build(experiment.load_config(content), tmp_path / "work")
    assert evaluation_batch_sizes(built.bundle.config) == {"shared": 4}


def test_a_runs_config_has_the_numbers_and_is_the_same_run(settings: Callable[..., Any]) -> None:
    given = settings("mood", training={"epochs": None, "batch_size": None, "max_steps": 2})
    result = experiment.train(given)
    again = experiment.load_config(result.run / "config.yml")
    assert again.training.epochs == epochs(Recipe.pretrained(16), 32)
    assert again.training.batch_size == batch_size(Recipe.pretrained(16), 32)
    run = RunFolder(result.run)
    assert run.is_of(config_digest(again))
    assert run.is_of(config_digest(experiment.load_config(given)))
    assert not run.is_of(config_digest(experiment.load_config(given, ["training.max_steps=3"])))


def test_the_epochs_of_each_stage_are_told() -> None:
    block = {"epochs": 3, "batch_size": 4, "scheduler": "linear", "weight_decay": 0.01}
    tasks = [{"name": "t", "type": "classification", "data_path": "x"}]
    given = {"model": {"base_model": "x"}, "tasks": tasks, "training": block}
    stages = [{"name": "one"}, {"name": "two", "epochs": 5}]
    config, plain = (experiment.load_config(each) for each in ({**given, "stages": stages}, given))
    assert told(config, config, 9)[1:] == ["  epochs by stage: one 3, two 5"]
    assert told(plain, plain, 9)[1:] == []
