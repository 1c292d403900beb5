"""What `tune.space` searches is held against the schema, value by value, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.config.load import load_search, load_text
from jenga.config.schema import ExperimentConfig
from jenga.config.space import Dimension
from jenga.config.tune import Interval
from jenga.errors import ConfigError

TEXT = """\
model: {base_model: m}
tasks:
  - {name: intent, type: classification, data_path: a, heads: [{name: label}]}
training: {max_steps: 100}
evaluation: {metric: %s}
tune:
  sampler: %s
  space:
    %s: %s
"""


def problems(schema: type[ExperimentConfig], key: str, entry: str, *, metric: str = "f", sampler: str = "tpe") -> str:
    with pytest.raises(ConfigError) as caught:
        load_text(TEXT % (metric, sampler, key, entry), file="cfg.yml", schema=schema)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        ("training.batch_sise", "[8, 16]", "9:5: tune.space.training.batch_sise: unknown key; did you mean 'batch_"),
        ("trainin.epochs", "[8]", "9:22: tune.space.trainin.epochs[0]: 8: trainin: unknown key; did you mean"),
        ("tasks[intnt].weight", "[1]", "9:5: tune.space.tasks[intnt].weight: no item [intnt]; did you mean 'intent'?"),
        ("tasks[.weight", "[1]", "no key; write it as training.batch_size or tasks[intent].weight"),
        ("training.batch_size", "[8, 0]", "9:30: tune.space.training.batch_size[1]: 0: must be at least 1, got 0"),
        ("training.batch_size", "[8, big]", "batch_size[1]: big: needs a whole number, got text 'big'"),
        ("fusion.type", "[none, atention]", "fusion.type[1]: atention: unknown 'atention'; did you mean 'attention'?"),
        ("fusion", "[{typ: none}]", "9:14: tune.space.fusion[0]: {'typ': 'none'}: fusion.typ: unknown key"),
        ("model.dropout", "{low: 0, high: 1}", "9:35: tune.space.model.dropout.high: 1: must be less than 1, got 1.0"),
        ("model.dropout", "{low: -1, high: 0.5}", "9:26: tune.space.model.dropout.low: -1: must be at least 0"),
        ("training.epochs", "{low: 5, high: 2}", "training.epochs.low: low (5) must be less than high (2)"),
        ("model.dropout", "{low: 0, high: 0.5, log: true}", "dropout.low: low must be greater than 0 with log, got 0"),
        ("model.dropout", "{low: 0, high: 0.5, step: 0.2}", "high: no number of steps of 0.2 leads from 0 to it; "
                                                            "write 0.4"),
        ("training.epochs", "{low: 1, high: 9, step: 2, log: true}", "training.epochs.step: goes without log"),
        ("training.epochs", "[3, 3]", "tune.space.training.epochs: the list has a value twice; take one out"),
        ("training.warmup_steps", "[10, 200]", "warmup_steps[1]: 200: 200 steps of warmup leave none of training.max"),
        ("output_dir", "[a, b]", "tune.space.output_dir: no run is better or worse by it"),
        ("tracking.enabled", "[true]", "tune.space.tracking.enabled: no run is better or worse by it"),
        ("tune.seed", "[1]", "tune.space.tune.seed: no run is better or worse by it"),
        ("data.split_seed", "[1, 2]", "tune.space.data.split_seed: chooses what trials are judged by"),
        ("evaluation.metric", "[a]", "tune.space.evaluation.metric: chooses what trials are judged by"),
        ("data", "[{split_seed: 1}]", "tune.space.data: chooses what trials are judged by"),
        ("tasks[intent].data_path", "[b]", "tune.space.tasks[intent].data_path: chooses what trials are judged by"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_told_at_its_place(
    key: str, entry: str, message: str, schema: type[ExperimentConfig]
) -> None:
    found = problems(schema, key, entry)
    assert message in found
    assert all(line.startswith("cfg.yml:9:") for line in found.splitlines())


@pytest.mark.parametrize("key", ["tasks[0].weight", "tasks[intent].heads[label].label_smoothing"])
def test_what_a_loss_is_measured_by_is_searched_by_another_score_alone(
    key: str, schema: type[ExperimentConfig]
) -> None:
    for metric in ("eval_loss", "eval_intent_loss"):
        assert f"changes how {metric} is measured" in problems(schema, key, "[0.1, 0.2]", metric=metric)
    assert "changes how eval_loss is measured" in problems(schema, key, "[0.1, 0.2]", metric="auto")
    text = TEXT % ("eval_loss", "tpe", key, "[0.1, 0.2]")
    judged = text.replace("tune:\n", "tune:\n  metric: eval_intent_label_accuracy\n")
    assert load_text(judged, file="cfg.yml", schema=schema).tune is not None


def test_a_grid_needs_an_end(schema: type[ExperimentConfig]) -> None:
    message = "tune.space.model.dropout: a grid needs a list, or a step without log"
    assert message in problems(schema, "model.dropout", "{low: 0, high: 0.5}", sampler="grid")
    text = TEXT % ("f", "grid", "training.epochs", "{low: 1, high: 3}")
    assert load_text(text, file="cfg.yml", schema=schema).tune is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tasks[0].weight: [1]", "tasks[intent].weight: [2]"),
        ("fusion.type: [none]", "fusion: [{type: attention}]"),
        ("fusion: [{type: attention}]", "fusion.dropout: [0.2]"),
    ],
)
def test_one_setting_is_searched_once(one: str, other: str, schema: type[ExperimentConfig]) -> None:
    key, _, entry = one.partition(": ")
    message = f"cfg.yml:10:5: tune.space.{other.split(':')[0]}: is the same setting as {key}, or a part of it; take one"
    assert message in problems(schema, key, f"{entry}\n    {other}")


def test_values_of_two_keys_that_contradict_one_another_are_told_before_a_search(
    schema: type[ExperimentConfig], tmp_path: Any
) -> None:
    file = tmp_path / "cfg.yml"
    entry = "[10, 50]\n    training.max_steps: [40, 80]"
    file.write_text(TEXT % ("f", "tpe", "training.warmup_steps", entry))
    with pytest.raises(ConfigError, match=r"cfg\.yml:10:5: .*max_steps: 40 with training\.warmup_steps: 50: .*leave"):
        load_search(file, schema=schema)


def test_numbers_are_whole_where_the_setting_takes_no_others(schema: type[ExperimentConfig]) -> None:
    space = {
        "training.epochs": {"low": 1, "high": 8},
        "model.dropout": {"low": 0, "high": 0.5},
        "training.weight_decay": {"low": 0, "high": 1},
        "training.batch_size": {"low": 8, "high": 32, "step": 8},
    }
    content = {"model": {"base_model": "m"}, "tasks": [{"name": "t", "type": "ner", "data_path": "a"}]}
    content["tasks"][0]["heads"] = [{"name": "h"}]
    found = load_search({**content, "tune": {"space": space}}, schema=schema).dimensions
    assert [key for key, each in found.items() if each.whole] == ["training.epochs", "training.batch_size"]
    assert found["training.batch_size"].grid() == [8, 16, 24, 32]
    assert found["training.weight_decay"].grid() is None
    assert Dimension(("x",), interval=Interval(low=0, high=0.3, step=0.1)).grid() == pytest.approx([0, 0.1, 0.2, 0.3])
