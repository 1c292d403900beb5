"""The schema's own rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from jenga.config import schema as models
from jenga.config.evaluation import ConformalConfig, CostsConfig, EvaluationConfig, ThresholdsConfig
from jenga.config.schema import ExperimentConfig
from jenga.config.training import OwnTraining, TrainingConfig
from jenga.modalities.text.settings import ModelConfig
from jenga.tasks.base import ClassificationConfig

TASK = {"name": "t", "data_path": "x.jsonl"}


def experiment(schema: type[ExperimentConfig], task: dict[str, Any], **blocks: Any) -> Any:
    return schema.model_validate({"model": {"base_model": "x"}, "tasks": [{**TASK, **task}], **blocks})


def errors(schema: type[ExperimentConfig], task: dict[str, Any], **blocks: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        experiment(schema, task, **blocks)
    return str(caught.value)


@pytest.mark.parametrize("alias", ["classification", "single_label_classification", "multi_head_classification"])
def test_an_alias_has_the_schema_of_its_type(alias: str, schema: type[ExperimentConfig]) -> None:
    task = experiment(schema, {"type": alias}).tasks[0]
    assert isinstance(task, ClassificationConfig)
    assert [head.name for head in task.heads] == ["label"]


@pytest.mark.parametrize(
    "name", ["..", ".hidden", "a/b", " a", "a\\b", "a\nb", "a\x1b[31m", "a\u2028b", "a\u202eb", "a" * 61]
)
def test_a_project_name_is_the_name_of_one_folder(name: str, schema: type[ExperimentConfig]) -> None:
    assert "project_name" in errors(schema, {"type": "ner"}, project_name=name)


def test_a_project_name_of_any_script_is_the_name_of_a_folder(schema: type[ExperimentConfig], tmp_path: Path) -> None:
    for name in ("Nambari ya msaada", "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 60, "\N{GRINNING FACE}" * 60, "a\u200cb"):
        assert experiment(schema, {"type": "ner"}, project_name=name).project_name == name
        (tmp_path / name).mkdir()


@pytest.mark.parametrize("name", ["a b", "a.b", "a\x1b[31m", "a\x7f", "a\u202eb"])
def test_names_of_tasks_and_heads_can_be_shown(schema: type[ExperimentConfig], name: str) -> None:
    assert "tasks.0" in errors(schema, {"type": "ner", "name": name})
    assert "tasks.0" in errors(schema, {"type": "classification", "heads": [{"name": name}]})


def test_two_tasks_of_a_name_are_an_error(schema: type[ExperimentConfig]) -> None:
    tasks = [{**TASK, "type": "ner"}, {**TASK, "type": "regression"}]
    with pytest.raises(ValidationError, match="two tasks have the same name"):
        schema.model_validate({"model": {"base_model": "x"}, "tasks": tasks})


def test_values_are_fixed_once_read(schema: type[ExperimentConfig]) -> None:
    config = experiment(schema, {"type": "ner"})
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 5


def test_every_field_that_users_see_is_described() -> None:
    blocks = (
        ModelConfig, models.DataConfig, TrainingConfig, EvaluationConfig, models.CheckpointConfig,
        models.TrackingConfig, OwnTraining, models.SeveralBackbones, ConformalConfig, CostsConfig, ThresholdsConfig,
    )  # fmt: skip
    bare = [
        f"{block.__name__}.{name}"
        for block in blocks
        for name, info in block.model_fields.items()
        if not info.description
    ]
    assert bare == []
    assert TypeAdapter(models.DataConfig).json_schema()["properties"].keys() == models.DataConfig.model_fields.keys()
