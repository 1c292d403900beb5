"""Judging a model on whole splits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jenga.labels.classes import ClassHead
from jenga.processes import Processes
from jenga.tasks.base import ClassificationConfig
from jenga.tasks.classification import ClassificationTask
from jenga.trainer.evaluate import Runner, SplitResult, describe_split, label_counts
from jenga.types import Batch, HeadSpace

NAN = float("nan")
KEY = ("t", "h")
HEAD = ClassHead(name="c", num_labels=2)
ITEMS = HeadSpace("t", "h", "items", 2, ("a", "b"))


def runner_of(trainer: Any, batch_size: int = 3, **options: Any) -> Runner:
    return Runner(trainer.model, torch.device("cpu"), contextlib.nullcontext, {"shared": batch_size}, {}, **options)


def without(rows: list[dict[str, Any]], *columns: str, every: int = 1) -> list[dict[str, Any]]:
    """Take the labels of `columns` from each `every`-th row."""
    return [{k: None if k in columns and i % every == 0 else v for k, v in row.items()} for i, row in enumerate(rows)]


def test_processes_share_the_batches_of_an_evaluation(make_trainer: Callable[..., Any]) -> None:
    class OneOfTwo(Processes):
        def gathered(self, value: Any) -> list[Any]:
            return [value]

    trainer = make_trainer("mood", "names")
    (source,) = trainer.sources.values()
    part, seen = source.splits["train"], []
    for rank in range(2):
        calls: list[None] = []
        runner = runner_of(trainer, on_batch=lambda calls=calls: calls.append(None), processes=OneOfTwo(rank, 2))
        runner.logits(part, source.tasks)
        seen.append(len(calls))
    batches = -(-len(part) // 3)
    assert seen == [-(-batches // 2), batches // 2]


def test_the_batch_size_changes_no_prediction_and_no_loss(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any]
) -> None:
    """Losses are over labels, not a mean of batch means, and each row keeps its place whatever the order of lengths."""
    rows = without(make_rows(40), "mood", "price", every=3)
    trainer = make_trainer("mood", "flags", "names", "price", rows=rows, data={"valid_fraction": 0.4})
    sources = trainer.experiment.sources
    one, other = (runner_of(trainer, size).evaluate(sources, "valid") for size in (1, 7))
    assert one.rows == 16
    assert one.metrics.keys() == other.metrics.keys()
    for name, value in one.metrics.items():
        assert other.metrics[name] == pytest.approx(value, rel=1e-4), name  # other GEMM sizes round otherwise
    for key, predictions in one.predictions.items():
        for mine, theirs in zip(predictions, other.predictions[key], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, err_msg=str(key))


def test_a_budget_of_tokens_cuts_rows_by_their_lengths_and_changes_no_logits(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood")
    (source,) = trainer.sources.values()
    part = source.splits["train"]
    widths: list[tuple[int, int]] = []
    trainer.model.encoders["shared"].register_forward_hook(
        lambda _, given, found: widths.append(tuple(found.last_hidden_state.shape[:2]))
    )
    by_rows = runner_of(trainer, 4).logits(part, ("mood",))["mood", "mood"]
    widths.clear()
    found = runner_of(trainer, 4, batch_tokens={"shared": 80}).logits(part, ("mood",))["mood", "mood"]
    torch.testing.assert_close(found, by_rows)
    assert all(rows * tokens <= 80 for rows, tokens in widths)
    assert max(rows for rows, _ in widths) > 4


def test_logits_are_those_of_each_row_alone(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", "names")
    split = trainer.experiment.sources[0].splits["train"]
    logits = runner_of(trainer, 8).logits(split, ("mood", "names"))
    for row in (0, 5, 11):
        batch = split.batch([row])
        with torch.inference_mode():
            outputs = trainer.model(batch.inputs, ["mood", "names"])
        torch.testing.assert_close(
            logits["mood", "topic"][row], outputs["mood"].logits["topic"][0], rtol=1e-4, atol=1e-5
        )
        tokens = split.encoded.words(row)
        by_word = logits["names", "names"][row]
        assert by_word.shape[0] == len(tokens)
        for word, token in enumerate(tokens):
            if token < 0:
                assert by_word[word].isnan().all()
            else:
                expected = outputs["names"].logits["names"][0, token]
                torch.testing.assert_close(by_word[word], expected, rtol=1e-4, atol=1e-5)


def test_a_word_that_was_cut_off_is_predicted_as_outside(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("names", data={"max_length": 8})
    with torch.no_grad():
        trainer.model.tasks["names"].heads.bias[1] = 100.0
    split = trainer.experiment.sources[0].splits["train"]
    runner = runner_of(trainer)
    predictions = runner.predictions(runner.logits(split, ("names",)))["names", "names"]
    cut = 0
    for row in range(len(split)):
        expected = np.where(split.encoded.words(row) >= 0, 1, 0)
        assert predictions[row].tolist() == expected.tolist()
        cut += int((expected == 0).sum())
    assert cut > 0


def test_the_total_loss_weighs_tasks_and_heads(make_trainer: Callable[..., Any], settings: Callable[..., Any]) -> None:
    tasks = settings("mood", "flags")["tasks"]
    tasks[0]["weight"], tasks[0]["heads"][1]["weight"], tasks[1]["weight"] = 2.0, 0.25, 0.5
    trainer = make_trainer("mood", "flags", tasks=tasks)
    metrics = runner_of(trainer).evaluate(trainer.experiment.sources, "valid").metrics
    assert metrics["loss"] == pytest.approx(2.0 * metrics["mood_loss"] + 0.5 * metrics["flags_loss"])
    part = trainer.experiment.sources[0].splits["valid"]
    batch = part.batch(range(len(part)))
    with torch.inference_mode():
        output = trainer.model(batch.inputs, ["mood"])["mood"]
    losses = [
        torch.nn.functional.cross_entropy(output.logits[head], batch.labels["mood"][head]) for head in ("mood", "topic")
    ]
    assert metrics["mood_loss"] == pytest.approx(float(losses[0] + 0.25 * losses[1]), rel=1e-4)


def test_a_task_without_labels_has_no_loss_and_no_metrics(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any]
) -> None:
    trainer = make_trainer("mood", "price")
    source = trainer.experiment.sources[0]
    source.splits["valid"].rows.labels["price", "price"][:] = NAN
    metrics = runner_of(trainer).evaluate([source], "valid").metrics
    assert not [name for name in metrics if "price" in name]
    assert metrics["loss"] == metrics["mood_loss"]
    for head in ("mood", "topic"):
        source.splits["valid"].rows.labels["mood", head][:] = -100
    assert runner_of(trainer).evaluate([source], "valid").metrics == {}, "and no loss of 0.0 in total"


def test_a_split_that_is_empty_or_not_there_gives_an_empty_result(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", data={"valid_fraction": 0.0})
    for split in ("valid", "none"):
        assert runner_of(trainer).evaluate(trainer.experiment.sources, split) == SplitResult()


def test_the_chosen_metric_stands_for_its_head(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", "price")
    sources = trainer.experiment.sources
    result = runner_of(trainer).evaluate(sources, "train")

    def shown(metric: str) -> dict[str, str]:
        heads = describe_split(result, trainer.model, sources, "train", metric=metric)["heads"]
        return {f"{head['task']}_{head['head']}": head["primary_metric"] for head in heads}

    usual = {"mood_mood": "macro_f1", "mood_topic": "macro_f1", "price_price": "mae"}
    assert shown("eval_loss") == usual
    assert shown("eval_mood_topic_accuracy") == {**usual, "mood_topic": "accuracy"}
    assert shown("eval_price_price_r2") == {**usual, "price_price": "r2"}


def test_every_batch_is_announced(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood")
    calls: list[int] = []
    runner_of(trainer, 8, on_batch=lambda: calls.append(1)).evaluate(trainer.experiment.sources, "train")
    assert len(calls) == 4


def test_predictions_of_items_obey_their_thresholds(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("flags")
    runner = runner_of(trainer)
    logits = runner.logits(trainer.experiment.sources[0].splits["train"], ("flags",))
    runner.thresholds = {("flags", "flags"): np.array([0.0, 1.0, 0.5])}
    found = runner.predictions(logits)["flags", "flags"]
    assert found[:, 0].all()
    assert not found[:, 1].any()


def test_labels_are_counted_over_micro_batches_by_head() -> None:
    def batch(classes: list[int], items: list[list[float]], tags: list[list[int]]) -> Batch:
        labels = {"t": {"c": torch.tensor(classes), "i": torch.tensor(items)}, "n": {"g": torch.tensor(tags)}}
        return Batch({}, labels, [])

    batches = [
        batch([0, -100], [[1.0, NAN], [NAN, NAN]], [[-100, 2], [0, -100]]),
        batch([-100, -100], [[0.0, 0.0], [NAN, 1.0]], [[-100, -100], [1, -100]]),
    ]
    task = ClassificationTask(ClassificationConfig(name="t", type="classification", data_path="x", heads=[HEAD]), 2)
    counts = label_counts(batches, {"t": task, "n": task})
    assert {task: values.tolist() for task, values in counts.items()} == {"t": [1.0, 4.0], "n": [3.0]}


def test_a_loss_of_the_tasks_own_is_weighed_by_rows(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood")
    source = trainer.experiment.sources[0]
    part = source.splits["valid"]

    def forward(inputs: dict[str, torch.Tensor], tasks: Any, labels: Any = None) -> dict[str, Any]:
        rows = len(inputs["input_ids"])
        logits = {"mood": torch.zeros(rows, 2), "topic": torch.zeros(rows, 3)}
        return {"mood": SimpleNamespace(loss=torch.tensor(float(rows)), logits=logits, loss_sum=None, count=None)}

    trainer.model.forward = forward
    size = len(part) - 1
    metrics = runner_of(trainer, size).evaluate([source], "valid").metrics
    assert metrics["loss"] == pytest.approx((size * size + 1) / (size + 1))
