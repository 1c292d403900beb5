"""The block `tune`: what is accepted, and that it is no part of a run."""

from __future__ import annotations

import pytest

from jenga.config.load import load_text
from jenga.config.render import config_digest, to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.config.tune import Interval
from jenga.errors import ConfigError

TEXT = """\
model: {base_model: m}
tasks:
  - {name: intent, type: classification, data_path: a, heads: [{name: label}]}
"""
SPACE = """\
tune:
  space:
    training.weight_decay: {low: 0, high: 0.1}
    training.batch_size: [8, 16]
"""


def read(text: str, schema: type[ExperimentConfig]) -> ExperimentConfig:
    return load_text(text, file="cfg.yml", schema=schema)


def test_ranges_and_lists_are_read_and_come_back_from_yaml(schema: type[ExperimentConfig]) -> None:
    config = read(TEXT + SPACE, schema)
    assert config.tune is not None
    assert config.tune.space == {
        "training.weight_decay": Interval(low=0.0, high=0.1),
        "training.batch_size": [8, 16],
    }
    assert read(to_yaml(config), schema) == config


def test_a_run_with_the_block_computes_what_it_does_without(schema: type[ExperimentConfig]) -> None:
    assert config_digest(read(TEXT + SPACE, schema)) == config_digest(read(TEXT, schema))


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("tune: {trials: 3}", "tune.space: required key is missing"),
        ("tune: {space: {}}", "tune.space: needs at least 1 item"),
        ("tune: {space: {training.epochs: []}}", "tune.space.training.epochs: needs at least 1 item"),
        ("tune: {space: {training.epochs: 3}}", "needs a list or a mapping of low, high, log, step, got 3"),
        ("tune: {space: {training.epochs: {low: 1, hihg: 3}}}", "hihg: unknown key; did you mean 'high'?"),
        ("tune: {space: {training.epochs: [1]}, sampler: tpa}", "tune.sampler: unknown 'tpa'; did you mean 'tpe'?"),
        ("tune: {space: {training.epochs: [1]}, trails: 3}", "tune.trails: unknown key; did you mean 'trials'?"),
    ],
)
def test_mistakes_in_the_block_are_told_at_their_places(
    block: str, problem: str, schema: type[ExperimentConfig]
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(TEXT + block, schema)
    assert problem in str(caught.value)
    assert str(caught.value).startswith("cfg.yml:4:")
