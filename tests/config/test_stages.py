"""The blocks `stages` and `continual`."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError
from jenga.run.experiment import load_config

TASKS = [{"name": name, "type": "classification", "data_path": "x"} for name in ("mood", "topic")]


def loaded(**blocks: Any) -> ExperimentConfig:
    return load_config({"model": {"base_model": "x"}, "tasks": TASKS, **blocks})


def test_a_stage_is_of_all_tasks_and_rows_where_nothing_is_said() -> None:
    config = loaded(stages=[{"name": "one"}, {"name": "two", "where": {"part": ["a", 2, True]}, "epochs": 3}])
    assert [(each.tasks, each.epochs) for each in config.stages] == [(None, None), (None, 3)]
    assert [each.where for each in config.stages] == [{}, {"part": ["a", 2, True]}]
    assert config.continual.replay is config.continual.agem is config.continual.ewc is None


@pytest.mark.parametrize(
    ("stages", "why"),
    [
        ([{"name": "one"}, {"name": "one"}], r"stages\[1\].name: 'one' is the name of stages\[0\]"),
        ([{"name": "one", "tasks": ["mod"]}], r"tasks\[0\]: there is no task 'mod'; did you mean 'mood'"),
        ([{"name": "one", "tasks": ["mood"]}], r"tasks\[1\].name: 'topic' learns in none of the stages"),
        ([{"name": "one", "where": {"part": []}}], "where"),
        ([{"name": "one", "epochs": 0}], "epochs"),
    ],
)
def test_stages_that_contradict_themselves_are_refused(stages: list[Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        loaded(stages=stages)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ({"early_stopping": {}}, "early_stopping: would end the training in one of its stages"),
        ({"training": {"max_steps": 9}}, "training.max_steps: the length of a stage is its epochs"),
    ],
)
def test_what_ends_a_training_is_refused_beside_stages(block: dict[str, Any], why: str) -> None:
    assert loaded(**block)
    with pytest.raises(ConfigError, match=why):
        loaded(stages=[{"name": "one"}], **block)


@pytest.mark.parametrize("method", ["replay", "agem", "ewc"])
def test_methods_are_refused_without_stages(method: str) -> None:
    assert getattr(loaded(stages=[{"name": "one"}], continual={method: {}}).continual, method)
    with pytest.raises(ConfigError, match=f"continual.{method}: is for a training in stages"):
        loaded(continual={method: {}})
