"""Backbone, fusion and tasks, joined."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jenga.fusion import AttentionFusion
from jenga.labels.classes import ClassHead
from jenga.modalities import BaseBackbone
from jenga.model import MultiTaskModel
from jenga.tasks import BaseTask
from jenga.tasks.base import ClassificationConfig
from jenga.tasks.classification import ClassificationTask
from jenga.types import BackboneOutput, TaskOutput

WIDTH = 4


class CountingBackbone(BaseBackbone):
    """Embeds tokens, counts its passes, and returns a plain dict as a user's backbone may."""

    def __init__(self) -> None:
        super().__init__("counting", SimpleNamespace())
        self.embed = torch.nn.Embedding(10, WIDTH)
        self.passes = 0

    def forward(self, **inputs: torch.Tensor) -> Mapping[str, Any]:
        self.passes += 1
        hidden = self.embed(inputs["input_ids"])
        return {"last_hidden_state": hidden, "pooler_output": hidden.mean(1)}


def task_config(name: str, *heads: str) -> ClassificationConfig:
    return ClassificationConfig(
        name=name, type="classification", data_path="rows.jsonl", dropout=0.0,
        heads=[ClassHead(name=head, num_labels=3) for head in heads],
    )  # fmt: skip


class OwnLoss(BaseTask):
    """A user's task in the shape of the documentation: one head, its own loss, a plain dict."""

    def get_forward_output(self, encoder_outputs: BackboneOutput, labels: Any = None) -> TaskOutput | Mapping[str, Any]:
        logits = self.head(encoder_outputs.pooler_output)
        loss = torch.nn.functional.cross_entropy(logits, labels) if labels is not None else None
        return {"loss": loss, "logits": logits}


class Careless(BaseTask):
    """Has two heads and returns one tensor of logits."""

    def get_forward_output(self, encoder_outputs: BackboneOutput, labels: Any = None) -> Mapping[str, Any]:
        return {"loss": None, "logits": encoder_outputs.pooler_output}


def model_of(**tasks: BaseTask) -> MultiTaskModel:
    return MultiTaskModel({"shared": CountingBackbone()}, {}, tasks)


INPUTS = {"input_ids": torch.arange(6).reshape(2, 3)}


def test_all_tasks_of_a_batch_share_one_encoder_pass() -> None:
    model = model_of(**{name: ClassificationTask(task_config(name, "x", "y"), WIDTH) for name in "abc"})
    labels = {name: {"x": torch.tensor([0, 1]), "y": torch.tensor([2, 2])} for name in "abc"}
    outputs = model(INPUTS, ["a", "b", "c"], labels)
    backbone = model.encoders["shared"]
    assert isinstance(backbone, CountingBackbone)
    assert backbone.passes == 1
    assert list(outputs) == ["a", "b", "c"]


def test_only_the_tasks_asked_for_run() -> None:
    model = model_of(
        a=ClassificationTask(task_config("a", "x"), WIDTH), b=ClassificationTask(task_config("b", "x"), WIDTH)
    )
    assert list(model(INPUTS, ["b"])) == ["b"]


def test_fusion_gives_each_task_its_own_view() -> None:
    fusion = AttentionFusion(WIDTH, ["a", "b"], dropout=0.0)
    torch.nn.init.normal_(fusion.update_bias)
    task = ClassificationTask(task_config("a", "x"), WIDTH)
    model = MultiTaskModel({"shared": CountingBackbone()}, {"shared": fusion}, {"a": task, "b": task}).eval()
    outputs = model(INPUTS, ["a", "b"])
    assert not torch.allclose(outputs["a"].logits["x"], outputs["b"].logits["x"])


def test_a_one_head_task_is_handed_a_tensor_and_may_answer_with_one() -> None:
    model = model_of(own=OwnLoss(task_config("own", "x"), WIDTH))
    labels = torch.tensor([0, 2])
    output = model(INPUTS, ["own"], {"own": {"x": labels}})["own"]
    assert list(output.logits) == ["x"]
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits["x"], labels))
    assert model(INPUTS, ["own"])["own"].loss is None


def test_a_tensor_of_logits_from_several_heads_is_refused() -> None:
    model = model_of(careless=Careless(task_config("careless", "x", "y"), WIDTH))
    with pytest.raises(TypeError, match="task 'careless' has several heads and must return its logits by head"):
        model(INPUTS, ["careless"])


@pytest.mark.parametrize("name", ["train", "type", "keys", "forward", "QA"])
def test_a_task_may_have_any_name(name: str) -> None:
    model = model_of(**{name: ClassificationTask(task_config(name, "x"), WIDTH)})
    model.train()
    assert f"tasks.{name}.heads.x.weight" in model.state_dict()
    assert list(model.tasks) == [name]
    assert list(model(INPUTS, [name])) == [name]
