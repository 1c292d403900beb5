"""The schema of what is registered."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jenga.config.registered import experiment_model
from jenga.config.schema import ExperimentConfig
from jenga.config.strict import Strict
from jenga.modalities.text.modality import TextModality
from jenga.modalities.text.settings import ModelConfig
from jenga.registry import Registry
from jenga.tasks.base import ClassificationConfig

TASK = {"name": "t", "data_path": "x.jsonl", "type": "classification"}


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


def test_a_block_of_one_of_several_is_that_of_one_alone_with_peft_and_training(schema: type[ExperimentConfig]) -> None:
    blocks = {
        "a": {"backbone_type": "text", "base_model": "x"},
        "b": {"backbone_type": "sequential", "base_model": "security_mlp_v1"},
    }
    made: Any = schema.model_validate({"model": {"backbones": blocks}, "tasks": [TASK]})
    alone: Any = schema.model_validate({"model": {"base_model": "x"}, "tasks": [TASK]})
    text = type(made.model.backbones["a"])
    assert text.model_fields.keys() - type(alone.model).model_fields.keys() == {"peft", "training"}
    assert made.model.backbones["b"].backbone_type == "sequential"
    assert (made.several, alone.several) == (True, False)


def test_of_several_no_type_is_the_default(schema: type[ExperimentConfig]) -> None:
    with pytest.raises(ValidationError, match=r"backbones\.a\n  Unable to extract tag"):
        schema.model_validate({"model": {"backbones": {"a": {"base_model": "x"}}}, "tasks": [TASK]})
