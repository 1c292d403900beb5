"""The schema's own rules, and how it is made of what is registered."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from jenga.config import schema as models
from jenga.config.schema import ExperimentConfig, Strict, experiment_model
from jenga.modalities.text.modality import TextModality
from jenga.modalities.text.settings import ModelConfig
from jenga.registry import Registry
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


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", " a", "a\\b"])
def test_a_project_name_is_the_name_of_one_folder(name: str, schema: type[ExperimentConfig]) -> None:
    assert "project_name" in errors(schema, {"type": "ner"}, project_name=name)


def test_two_tasks_of_a_name_are_an_error(schema: type[ExperimentConfig]) -> None:
    tasks = [{**TASK, "type": "ner"}, {**TASK, "type": "regression"}]
    with pytest.raises(ValidationError, match="two tasks have the same name"):
        schema.model_validate({"model": {"base_model": "x"}, "tasks": tasks})


def test_values_are_fixed_once_read(schema: type[ExperimentConfig]) -> None:
    config = experiment(schema, {"type": "ner"})
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 5


def test_a_part_without_a_model_of_its_own_gets_the_plain_one() -> None:
    class Part:
        reads = "pooled"

    registries: list[Registry[Any]] = [
        Registry(what, entry_point_group="jenga.tests.none", default_config=config)
        for what, config in (("t", ClassificationConfig), ("b", None), ("c", None))
    ]
    for registry in registries:
        registry.register("plain")(Part)
    made = experiment_model(*registries, modality_of=lambda name: TextModality(), baselines=["majority"])
    config: Any = made.model_validate(
        {
            "model": {"base_model": "x", "backbone_type": "plain"},
            "tasks": [{**TASK, "type": "plain"}],
            "callbacks": {"plain": {}},
        }
    )
    assert isinstance(config.tasks[0], ClassificationConfig)
    assert config.model.backbone_type == "plain"
    assert isinstance(config.model, ModelConfig)
    assert isinstance(config.callbacks.plain, Strict)


def test_every_field_that_users_see_is_described() -> None:
    blocks = (
        ModelConfig, models.DataConfig, models.TrainingConfig, models.EvaluationConfig, models.CheckpointConfig,
        models.TrackingConfig,
    )  # fmt: skip
    bare = [
        f"{block.__name__}.{name}"
        for block in blocks
        for name, info in block.model_fields.items()
        if not info.description
    ]
    assert bare == []
    assert TypeAdapter(models.DataConfig).json_schema()["properties"].keys() == models.DataConfig.model_fields.keys()
