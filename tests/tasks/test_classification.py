"""Classes and items."""

from __future__ import annotations

import numpy as np
import seeds
import torch
from torch.nn import functional as F

from jenga.labels.classes import ClassHead
from jenga.labels.items import ItemsHead
from jenga.tasks import TASK_REGISTRY
from jenga.tasks.base import ClassificationConfig
from jenga.tasks.classification import ClassificationTask, MultiLabelConfig, MultiLabelTask
from jenga.types import BackboneOutput, TaskOutput

WIDTH = 4


def encoded(rows: int) -> BackboneOutput:
    torch.manual_seed(seeds.derived(0))
    return BackboneOutput(torch.randn(rows, 2, WIDTH), torch.randn(rows, WIDTH), torch.ones(rows, 2).long())


def items_task(**options: list[float]) -> MultiLabelTask:
    head = ItemsHead(name="flags", num_labels=3, **options)  # type: ignore[arg-type]
    config = MultiLabelConfig(name="m", type="multi_label_classification", data_path="x", dropout=0.0, heads=[head])
    return MultiLabelTask(config, WIDTH)


def test_the_names_of_the_design_are_aliases() -> None:
    for alias in ("classification", "single_label_classification", "multi_head_classification"):
        assert TASK_REGISTRY[alias] is ClassificationTask
    assert TASK_REGISTRY["multi_label_classification"] is MultiLabelTask


def test_one_class_a_head() -> None:
    heads = [ClassHead(name="a", num_labels=2), ClassHead(name="b", num_labels=5)]
    task = ClassificationTask(ClassificationConfig(name="c", type="classification", data_path="x", heads=heads), WIDTH)
    output = task.eval().get_forward_output(encoded(3))
    assert isinstance(output, TaskOutput)
    assert {head: tuple(logits.shape) for head, logits in output.logits.items()} == {"a": (3, 2), "b": (3, 5)}


def test_missing_items_are_masked_one_by_one() -> None:
    task, given = items_task().eval(), encoded(2)
    labels = torch.tensor([[1.0, float("nan"), 0.0], [float("nan")] * 3])
    output = task.get_forward_output(given, labels)
    assert isinstance(output, TaskOutput)
    logits = task.heads(given.pooler_output)["flags"]
    expected = F.binary_cross_entropy_with_logits(logits[0, [0, 2]], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(output.loss, expected)
    assert output.loss is not None
    output.loss.backward()
    assert task.heads.weight.grad is not None
    assert task.heads.weight.grad.abs().sum(1).gt(0).tolist() == [True, False, True]


def test_pos_weight_reaches_the_loss() -> None:
    weight, labels, given = [1.0, 5.0, 2.0], torch.tensor([[1.0, 1.0, 0.0]]), encoded(1)
    task = items_task(pos_weight=weight).eval()
    output = task.get_forward_output(given, labels)
    assert isinstance(output, TaskOutput)
    logits = task.heads(given.pooler_output)["flags"]
    expected = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=torch.tensor(weight))
    torch.testing.assert_close(output.loss, expected)


def test_items_are_yes_from_their_own_threshold() -> None:
    logits = torch.logit(torch.tensor([[0.4, 0.4, 0.6], [0.5, 0.2, 0.9]], dtype=torch.float64))
    task = items_task()
    assert task.predict("flags", logits).tolist() == [[False, False, True], [True, False, True]]
    assert task.predict("flags", logits, np.array([0.3, 0.5, 0.95])).tolist() == [
        [True, False, False],
        [True, False, False],
    ]
