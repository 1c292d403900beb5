"""Tasks of a step: measured, reconciled, and looked at again."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from jenga.callbacks.nested_learning import NestedLearning
from jenga.trainer.balancing import MEASURES

TASKS = ("mood", "price")


def step(trainer: Any) -> None:
    trainer._started = 0.0
    trainer.step(trainer.sampler.epoch(0)[0])


def trained(make_trainer: Callable[..., Any], **training: Any) -> list[dict[str, Any]]:
    trainer = make_trainer(*TASKS, training={"epochs": 4, "log_every_steps": 1, **training})
    trainer.train()
    lines = trainer.log.path.read_text(encoding="utf-8").splitlines()
    return [each for each in map(json.loads, lines) if each["event"] == "train"]


def test_the_gradient_of_each_task_is_measured_now_and_then(make_trainer: Callable[..., Any]) -> None:
    found = trained(make_trainer, max_steps=2 * MEASURES)
    measured = [record["step"] for record in found if "task_grad_norm" in record]
    assert measured == list(range(1, 2 * MEASURES, 2))
    assert all(set(record["task_grad_norm"]) == set(TASKS) for record in found if "task_grad_norm" in record)


def test_measuring_changes_nothing_else(make_trainer: Callable[..., Any]) -> None:
    weights = []
    for measures in (True, False):
        trainer = make_trainer(*TASKS, training={"epochs": 1})
        if not measures:
            trainer.learner.balancing.measured = None
        step(trainer)
        weights.append([p.detach().clone() for p in trainer.model.parameters()])
    assert all(map(torch.equal, *weights))


def test_what_is_measured_is_the_norm_for_the_last_layer_as_the_task_is_weighed(
    make_trainer: Callable[..., Any], settings: Callable[..., Any]
) -> None:
    tasks = settings(*TASKS)["tasks"]
    tasks[0]["weight"] = 3.0
    trainer = make_trainer(tasks=tasks, training={"epochs": 1})
    split = next(iter(trainer.sources.values())).splits["train"].batch(range(8))
    model = trainer.model.eval()
    balancing = trainer.learner.balancing
    (layer,) = balancing.measured.parameters.values()
    assert 0 < len(layer) < len(list(model.encoders.parameters()))
    model.zero_grad()
    parts = trainer.learner.window.add(model(split.inputs, TASKS, split.labels), model.tasks, None, 1.0)
    balancing.add_gradients(parts, 0)
    norms = balancing.measured.take_norms()
    for name in TASKS:
        model.zero_grad()
        parts = trainer.learner.window.add(model(split.inputs, [name], split.labels), model.tasks, None, 1.0)
        parts[name].loss.backward()
        whole = torch.cat([p.grad.flatten() for p in layer if p.grad is not None]).norm()
        torch.testing.assert_close(norms[name], whole, rtol=1e-4, atol=0)


def test_a_task_that_dominates_is_named(make_trainer: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    trainer = make_trainer(*TASKS, training={"epochs": 4})
    trainer.model.tasks["price"].config = trainer.model.tasks["price"].config.model_copy(update={"weight": 1e4})
    trainer.train()
    (message,) = [record.getMessage() for record in caplog.records if "dominates" in record.getMessage()]
    assert "task 'price' dominates the encoder" in message


def test_the_second_look_has_the_dropout_of_the_first_and_leaves_random_states_alone(
    make_trainer: Callable[..., Any],
) -> None:
    trainer = make_trainer(*TASKS, training={"epochs": 1, "loss_balance": "famo", "learning_rate": 1e-9})
    balancing, seen = trainer.learner.balancing, []
    again = balancing._losses_after

    def look(run: Any) -> Any:
        state = torch.get_rng_state()
        seen.append((dict(balancing._losses), again(run)))
        assert torch.equal(torch.get_rng_state(), state)
        return seen[-1][1]

    balancing._losses_after = look
    step(trainer)
    ((before, after),) = seen
    assert set(before) == set(TASKS)
    for name in TASKS:  # at a rate of nothing, another dropout alone would make another loss
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-6)


def test_a_step_that_is_dropped_is_not_looked_at(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer(*TASKS, training={"epochs": 1, "loss_balance": "famo"})
    learner, source = trainer.learner, next(iter(trainer.sources.values()))
    batch = source.splits["train"].batch(range(4))
    learner.add_gradients(batch, source.tasks, None, 1.0)
    learner.clip_gradients()
    learner.drop_gradients()
    assert learner.balancing._seen == []
    assert learner.balancing._losses == {}


@pytest.mark.parametrize("balance", ["famo", "gradnorm", "dwa"])
def test_a_task_without_a_label_in_the_step_has_no_part_in_its_balance(
    make_trainer: Callable[..., Any], balance: str
) -> None:
    gradients = []
    for name in ("fixed", balance):
        trainer = make_trainer(*TASKS, training={"epochs": 1, "loss_balance": name, "max_grad_norm": None})
        learner, source = trainer.learner, next(iter(trainer.sources.values()))
        trainer.model.eval()
        batch = source.splits["train"].batch(range(8))
        batch.labels["price"] = {head: torch.full_like(each, math.nan) for head, each in batch.labels["price"].items()}
        learner.add_gradients(batch, source.tasks, None, 1.0)
        learner.settle_gradients()
        gradients.append([p.grad.clone() for p in trainer.model.parameters() if p.grad is not None])
    # A loss of 0 where there is no label is no loss that the others have to wait for.
    for plain, balanced in zip(*gradients, strict=True):
        torch.testing.assert_close(balanced, plain, rtol=1e-4, atol=1e-7)
    learner.step(torch.tensor(1.0))
    if balance == "gradnorm":
        assert learner.balance.first.isnan().tolist() == [False, True]
    if balance == "dwa":
        assert learner.balance.steps.tolist() == [1, 0]
    if balance == "famo":
        assert learner.balance.logits[1].item() == pytest.approx(0.0, abs=1e-4)


def test_a_task_without_labels_is_not_dominated(
    make_trainer: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    trainer = make_trainer(*TASKS, training={"epochs": 1})
    learner, source = trainer.learner, next(iter(trainer.sources.values()))
    for _ in range(3):
        batch = source.splits["train"].batch(range(8))
        batch.labels["price"] = {head: torch.full_like(each, math.nan) for head, each in batch.labels["price"].items()}
        learner.add_gradients(batch, source.tasks, None, 1.0)
        learner.settle_gradients()
        learner.drop_gradients()
    assert "dominates" not in caplog.text


def test_a_balance_that_looks_twice_has_the_rows_of_a_step_in_one_batch(make_trainer: Callable[..., Any]) -> None:
    training = {"epochs": 1, "batch_size": 4, "sampler": "together", "rows_per_step": dict.fromkeys(TASKS, 8)}
    sizes = []
    for balance in ("famo", "fixed"):
        trainer = make_trainer(*TASKS, training={**training, "loss_balance": balance})
        turn = trainer.sampler.epoch(0)[0]
        sizes.append([len(batch.rows) for batch in trainer.feed.batches(0, turn)])
    assert sizes[0] == [8]
    assert len(sizes[1]) > 1


def test_gradients_that_overflow_are_neither_balanced_nor_told(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer(*TASKS, training={"epochs": 1, "loss_balance": "gradnorm"})
    balancing = trainer.learner.balancing
    norms = {"mood": torch.tensor(float("inf")), "price": torch.tensor(2.0)}
    balancing._shares = {name: torch.tensor(1.0) for name in TASKS}
    balancing.measured.take_norms = lambda: norms
    found = balancing._norms(0)
    assert {name: float(each) for name, each in found.items()} == {"price": 2.0}


def test_a_level_may_hold_what_a_balance_learns(make_trainer: Callable[..., Any]) -> None:
    levels = NestedLearning(levels=[{"match": "balance.*", "period": 2}])
    trainer = make_trainer(*TASKS, training={"epochs": 1, "loss_balance": "uncertainty"}, callbacks=[levels])
    assert "balance.level0" in [group["name"] for group in trainer.optimizer.param_groups]
