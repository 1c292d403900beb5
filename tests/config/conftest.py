"""A schema made of the built-in config models, as the real registries make it."""

from __future__ import annotations

from typing import Any

import pytest

from jenga.config.parts import ModalityChoices
from jenga.config.registered import experiment_model
from jenga.config.schema import ExperimentConfig, Strict
from jenga.modalities.events.backbone import SequentialConfig
from jenga.modalities.events.modality import EventModality
from jenga.modalities.text.modality import TextModality
from jenga.modalities.text.settings import ModelConfig
from jenga.registry import Registry
from jenga.tasks.anomaly.config import AnomalyConfig
from jenga.tasks.base import ClassificationConfig
from jenga.tasks.classification import MultiLabelConfig
from jenga.tasks.language.form import LanguageForm
from jenga.tasks.ner import NERConfig
from jenga.tasks.qa import QAScoringConfig
from jenga.tasks.regression import RegressionConfig


class Part:
    """Stands in for a task, backbone or callback; the schema looks at no more of one than this."""

    reads = "pooled"


class WordPart(Part):
    """Stands in for a task that labels words."""

    reads = "tokens"


class EchoConfig(Strict):
    """Parameters of a callback that only these tests have."""

    times: int = 1


def registries() -> tuple[Registry[Any], Registry[Any], Registry[Any]]:
    tasks: Registry[Any] = Registry("task type", entry_point_group="jenga.tests.none")
    tasks.register(
        "classification",
        config=ClassificationConfig,
        aliases=("single_label_classification", "multi_head_classification"),
    )(Part)
    tasks.register("multi_label_classification", config=MultiLabelConfig)(Part)
    tasks.register("qa_scoring", config=QAScoringConfig)(Part)
    tasks.register("ner", config=NERConfig)(WordPart)
    tasks.register("regression", config=RegressionConfig)(Part)
    tasks.register("anomaly_detection", config=AnomalyConfig)(Part)
    backbones: Registry[Any] = Registry("backbone", entry_point_group="jenga.tests.none")
    backbones.register("text", config=ModelConfig)(Part)
    backbones.register("sequential", config=SequentialConfig)(Part)
    callbacks: Registry[Any] = Registry("callback", entry_point_group="jenga.tests.none")
    callbacks.register("echo", config=EchoConfig)(Part)
    return tasks, backbones, callbacks


MODALITIES: dict[str, ModalityChoices] = {"text": TextModality(), "sequential": EventModality()}
"""What each of these backbones reads."""


@pytest.fixture(scope="session")
def schema() -> type[ExperimentConfig]:
    return experiment_model(
        *registries(),
        modality_of=MODALITIES.__getitem__,
        baselines=["majority", "tfidf", "boosting"],
        default_backbone="text",
        forms=(LanguageForm(),),
    )
