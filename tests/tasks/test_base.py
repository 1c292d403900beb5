"""What every task does: losses over heads, predictions, metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import seeds
import torch
from torch.nn import functional as F

from jenga.labels.classes import ClassHead
from jenga.labels.metric import Metric
from jenga.modalities.text.columns import Texts
from jenga.tasks import TASK_REGISTRY, BaseTask
from jenga.tasks.base import ClassificationConfig, Labels
from jenga.tasks.classification import ClassificationTask
from jenga.types import BackboneOutput, HeadSpace, TaskOutput

WIDTH = 6


def config(*heads: ClassHead, **options: Any) -> ClassificationConfig:
    return ClassificationConfig(
        name="task", type="classification", data_path="rows.jsonl", **{"dropout": 0.0, **options},
        heads=list(heads) or [ClassHead(name="label", num_labels=3)],
    )  # fmt: skip


def encoded(rows: int = 4, tokens: int = 3) -> BackboneOutput:
    generator = seeds.generator(0)
    hidden = torch.randn(rows, tokens, WIDTH, generator=generator)
    return BackboneOutput(hidden, torch.randn(rows, WIDTH, generator=generator), torch.ones(rows, tokens).long())


def output_of(task: BaseTask, given: BackboneOutput, labels: Labels | None = None) -> TaskOutput:
    output = task.get_forward_output(given, labels)
    assert isinstance(output, TaskOutput)
    return output


def test_the_loss_is_the_weighted_sum_of_each_heads_mean() -> None:
    task = BaseTask(
        config(ClassHead(name="a", num_labels=3, weight=2.0), ClassHead(name="b", num_labels=2, weight=0.5)), WIDTH
    )
    given = encoded()
    labels = {"a": torch.tensor([0, 1, 2, -100]), "b": torch.tensor([1, -100, -100, -100])}
    output = output_of(task.eval(), given, labels)
    logits = task.heads(given.pooler_output)
    expected = 2.0 * F.cross_entropy(logits["a"], labels["a"]) + 0.5 * F.cross_entropy(logits["b"], labels["b"])
    torch.testing.assert_close(output.loss, expected)
    assert output.count is not None
    assert output.count.tolist() == [3, 1]


def test_masked_labels_get_zero_gradient() -> None:
    task = BaseTask(config(ClassHead(name="a", num_labels=3), ClassHead(name="b", num_labels=2)), WIDTH)
    given = encoded()
    given.pooler_output.requires_grad_()
    labels = {"a": torch.tensor([0, -100, 2, -100]), "b": torch.full((4,), -100)}
    output = output_of(task, given, labels)
    assert output.loss is not None
    output.loss.backward()
    assert given.pooler_output.grad is not None
    assert given.pooler_output.grad.abs().sum(1).gt(0).tolist() == [True, False, True, False]
    assert task.heads.weight.grad is not None
    assert task.heads.weight.grad[3:].eq(0).all(), "a head without labels does not move"
    assert task.heads.weight.grad[:3].abs().sum() > 0


def test_a_batch_without_any_label_gives_zero_loss_and_zero_gradient() -> None:
    task = BaseTask(config(), WIDTH)
    output = output_of(task, encoded(), torch.full((4,), -100))
    assert output.loss is not None
    output.loss.backward()
    assert float(output.loss.detach()) == 0.0
    assert task.heads.weight.grad is not None
    assert task.heads.weight.grad.eq(0).all()


def test_a_one_head_task_takes_a_tensor_or_a_mapping() -> None:
    task, labels = BaseTask(config(), WIDTH).eval(), torch.tensor([0, 1, 2, 0])
    one, other = output_of(task, encoded(), labels), output_of(task, encoded(), {"label": labels})
    assert one.loss is not None
    assert torch.equal(one.loss, torch.as_tensor(other.loss))


def test_labels_that_lack_a_head_are_refused_by_name() -> None:
    task = BaseTask(config(ClassHead(name="a", num_labels=3), ClassHead(name="b", num_labels=2)), WIDTH)
    with pytest.raises(KeyError, match="task 'task': labels lack the heads b"):
        task.get_forward_output(encoded(), {"a": torch.tensor([0, 1, 2, 0])})


def test_logits_are_there_in_training_too_without_a_gradient() -> None:
    task, labels = BaseTask(config(), WIDTH), torch.tensor([0, 1, 2, -100])
    given = encoded()
    trained = output_of(task.train(), given, labels)
    assert not trained.logits["label"].requires_grad
    assert output_of(task.train(), given).logits["label"].requires_grad
    judged = output_of(task.eval(), given, labels)
    torch.testing.assert_close(trained.logits["label"], judged.logits["label"])
    task.keeps_logits = True
    assert output_of(task.train(), given, labels).logits["label"].requires_grad


def test_each_member_of_an_ensemble_learns_by_its_own_loss_and_all_answer_by_their_mean() -> None:
    task, labels = BaseTask(config(), WIDTH), torch.tensor([0, 1, 2, -100])
    members = torch.randn(4, 5, WIDTH, generator=seeds.generator(1), requires_grad=True)
    given = replace(encoded(), pooler_output=members.mean(1), members=members)
    trained = output_of(task.train(), given, labels)
    losses = [F.cross_entropy(task.heads(members[:, each])["label"], labels) for each in range(5)]
    torch.testing.assert_close(trained.loss, torch.stack(losses).mean())
    assert trained.count is not None
    assert trained.count.tolist() == [3], "a row counts as one"
    judged = output_of(task.eval(), given, labels)
    torch.testing.assert_close(trained.logits["label"], judged.logits["label"])
    torch.testing.assert_close(judged.loss, F.cross_entropy(task.heads(members.mean(1))["label"], labels))


def test_dropout_falls_on_what_the_heads_read_and_only_in_training() -> None:
    task = BaseTask(config(dropout=0.5), WIDTH)
    given = encoded(rows=1)
    with torch.no_grad():
        assert len({float(output_of(task.train(), given).logits["label"].sum()) for _ in range(8)}) > 1
        assert len({float(output_of(task.eval(), given).logits["label"].sum()) for _ in range(8)}) == 1


def test_self_head_is_the_one_head_and_refused_where_there_are_several() -> None:
    task, hidden = BaseTask(config(), WIDTH), torch.randn(2, WIDTH)
    torch.testing.assert_close(task.head(hidden), task.heads(hidden)["label"])
    two = BaseTask(config(ClassHead(name="a", num_labels=3), ClassHead(name="b", num_labels=2)), WIDTH)
    with pytest.raises(TypeError, match=r"task 'task' has 2 heads; use self.heads"):
        _ = two.head


def test_the_state_dict_holds_heads_only() -> None:
    """Weights of classes and heads come from the configuration, not from the checkpoint."""
    task = BaseTask(config(ClassHead(name="a", num_labels=2, class_weight=[1.0, 3.0])), WIDTH)
    assert set(task.state_dict()) == {"heads.a.weight", "heads.a.bias"}


def test_class_weight_and_smoothing_reach_the_loss() -> None:
    labels, given = torch.tensor([0, 1, 1, 0]), encoded()
    for options in ({"class_weight": [1.0, 3.0]}, {"label_smoothing": 0.3}):
        task = BaseTask(config(ClassHead(name="a", num_labels=2, **options)), WIDTH).eval()  # type: ignore[arg-type]
        logits = task.heads(given.pooler_output)["a"]
        weight = torch.tensor(options["class_weight"]) if "class_weight" in options else None
        expected = F.cross_entropy(
            logits, labels, weight=weight, reduction="sum", label_smoothing=float(options.get("label_smoothing", 0.0))  # type: ignore[arg-type]
        )  # fmt: skip
        torch.testing.assert_close(output_of(task, given, labels).loss, expected / 4)


def test_predict_takes_the_likeliest_class() -> None:
    logits = torch.tensor([[0.1, 0.9, 0.2], [3.0, 0.0, 1.0]])
    assert BaseTask(config(), WIDTH).predict("label", logits).tolist() == [1, 0]


class Custom(BaseTask):
    """A user's task with a loss of its own."""

    def get_forward_output(self, encoder_outputs: BackboneOutput, labels: Any = None) -> Mapping[str, Any]:
        logits = self.head(encoder_outputs.pooler_output)
        return {"loss": F.cross_entropy(logits, labels) if labels is not None else None, "logits": logits}


def test_a_users_task_is_labelled_and_judged_as_classification_unless_it_says_otherwise() -> None:
    TASK_REGISTRY["my_custom_task"] = Custom
    try:
        task = TASK_REGISTRY["my_custom_task"](config(), WIDTH)
    finally:
        del TASK_REGISTRY["my_custom_task"]
    space = HeadSpace("task", "label", "class", 3, ("a", "b", "c"))
    assert task.kind_of(None) == "class"
    assert task.metrics(space, np.array([0, 1]), np.array([0, 1]))["accuracy"] == 1.0
    assert Metric("accuracy", greater_is_better=True) in task.declared_metrics(space)


def space(kind: str, *labels: str) -> HeadSpace:
    return HeadSpace("task", "head", kind, len(labels), labels)


def answers(space: HeadSpace, predictions: Any, logits: list[torch.Tensor], **options: Any) -> list[dict[str, Any]]:
    rows = options.pop("rows", Texts([""] * len(logits)))
    as_words = options.pop("as_words", [False] * len(logits))
    head = ClassHead(name="a", num_labels=2)
    plain = ClassificationConfig(name="task", type="classification", data_path="x", heads=[head])
    task: BaseTask = options.get("task", ClassificationTask(plain, 2))
    return task.answers(space, predictions, logits, rows, as_words=as_words, probabilities=options.get("all", False))


def test_class_gets_the_softmax_of_its_logit() -> None:
    logits = torch.tensor([0.0, np.log(3.0)])
    assert answers(space("class", "no", "yes"), np.array([1]), [logits]) == [{"label": "yes", "probability": 0.75}]


def test_probability_is_that_of_the_predicted_class_even_if_a_task_predicts_another_than_the_likeliest() -> None:
    logits = torch.tensor([0.0, np.log(3.0)])
    assert answers(space("class", "no", "yes"), np.array([0]), [logits]) == [{"label": "no", "probability": 0.25}]


def test_items_get_a_value_and_a_probability_each() -> None:
    found = answers(space("items", "a", "b"), np.array([[True, False]]), [torch.tensor([0.0, -100.0])])
    assert found == [{"a": {"value": True, "probability": 0.5}, "b": {"value": False, "probability": 0.0}}]


def test_one_number_is_a_value_and_several_are_named() -> None:
    assert answers(space("number", "head"), np.array([[1.5]]), [torch.zeros(1)]) == [{"value": 1.5}]
    several = answers(space("number", "0", "1"), np.array([[1.5, 2.0]]), [torch.zeros(2)])
    assert several == [{"values": {"0": 1.5, "1": 2.0}}]


def test_entity_spans_its_words_and_is_as_likely_as_the_least_likely_of_them() -> None:
    labels = ("O", "B-x", "I-x")
    rows = Texts(["in New York"], words=[[(0, 2), (3, 6), (7, 11)]])
    logits = torch.tensor([[9.0, 0, 0], [0, np.log(2.0), 0], [0, 0, np.log(6.0)]])
    found = answers(space("tags", *labels), [np.array([0, 1, 2])], [logits], rows=rows)
    entity = {"start": 3, "end": 11, "label": "x", "text": "New York", "probability": 0.5}
    assert found == [{"entities": [entity]}]


def test_tags_by_word_are_legal_where_the_model_begins_with_inside() -> None:
    rows = Texts(["New York"], words=[[(0, 3), (4, 8)]])
    found = answers(
        space("tags", "O", "B-x", "I-x"), [np.array([2, 2])], [torch.zeros(2, 3)], rows=rows, as_words=[True]
    )
    assert found[0]["tags"] == ["B-x", "I-x"]
    assert [entity["text"] for entity in found[0]["entities"]] == ["New York"]


def test_word_without_a_token_is_outside() -> None:
    rows = Texts(["New York"], words=[[(0, 3), (4, 8)]])
    logits = torch.tensor([[0.0, 9.0, 0], [torch.nan] * 3])
    found = answers(space("tags", "O", "B-x", "I-x"), [np.array([1, 0])], [logits], rows=rows)
    assert [entity["text"] for entity in found[0]["entities"]] == ["New"]
