"""Tags of words."""

from __future__ import annotations

import seeds
import torch
from torch.nn import functional as F

from jenga.labels.tags import TagHead
from jenga.tasks import TASK_REGISTRY
from jenga.tasks.ner import NERConfig, NERTask
from jenga.types import BackboneOutput, TaskOutput

TAGS = ["O", "B-X", "I-X"]


def test_the_loss_is_over_labelled_tokens_and_reads_each_tokens_own_state() -> None:
    torch.manual_seed(seeds.derived(0))
    head = TagHead(name="tags", labels=TAGS, num_labels=3)
    task = NERTask(NERConfig(name="n", type="ner", data_path="x", dropout=0.0, heads=[head]), 4)
    hidden = torch.randn(2, 5, 4, requires_grad=True)
    labels = torch.tensor([[-100, 1, -100, 2, -100], [-100, 0, -100, -100, -100]])
    output = task.eval().get_forward_output(BackboneOutput(hidden, torch.zeros(2, 4), torch.ones(2, 5).long()), labels)
    assert isinstance(output, TaskOutput)
    logits = task.heads(hidden)["tags"]
    torch.testing.assert_close(output.loss, F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100))
    assert output.logits["tags"].shape == (2, 5, 3)
    assert output.count is not None
    assert output.count.tolist() == [3]
    assert output.loss is not None
    output.loss.backward()
    assert hidden.grad is not None
    assert torch.equal(hidden.grad.abs().sum(-1) > 0, labels != -100)


def test_token_classification_is_an_alias() -> None:
    assert TASK_REGISTRY["token_classification"] is TASK_REGISTRY["ner"] is NERTask
