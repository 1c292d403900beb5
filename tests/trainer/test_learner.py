"""A step, or its leaving out, seen from below the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from jenga.errors import DivergedError


def gradients(trainer: Any) -> torch.Tensor:
    turn = trainer.sampler.epoch(0)[0]
    source = trainer.sources[turn.source]
    batch = source.splits["train"].batch(turn.rows)
    trainer.learner.add_gradients(batch, source.tasks, None, 1.0)
    norm: torch.Tensor = trainer.learner.clip_gradients()
    return norm


def weights(trainer: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.model.parameters()]


def test_a_step_moves_weights_and_schedule_and_leaves_no_gradient(make_trainer: Callable[..., Any]) -> None:
    learner = (trainer := make_trainer("mood", training={"warmup_ratio": 0.0})).learner
    before, rate = weights(trainer), learner.scheduler.get_last_lr()
    learner.step(gradients(trainer))
    assert not all(map(torch.equal, before, weights(trainer)))
    assert learner.scheduler.get_last_lr() != rate
    assert all(p.grad is None for p in trainer.model.parameters())
    assert learner.window.steps == 1


def test_a_step_left_out_moves_the_schedule_alone(make_trainer: Callable[..., Any]) -> None:
    learner = (trainer := make_trainer("mood", training={"warmup_ratio": 0.0})).learner
    before, rate = weights(trainer), learner.scheduler.get_last_lr()
    gradients(trainer)
    learner.drop_gradients()
    learner.skip()
    assert all(map(torch.equal, before, weights(trainer)))
    assert all(p.grad is None for p in trainer.model.parameters())
    assert learner.scheduler.get_last_lr() != rate
    assert learner.optimizer.state == {}


def test_dropped_gradients_let_the_scaler_unscale_the_next_ones(make_trainer: Callable[..., Any]) -> None:
    """GradScaler refuses a second unscale_ before its update."""
    trainer = make_trainer("mood")
    scaler = trainer.accelerator.scaler = torch.amp.GradScaler("cpu")
    for _ in range(2):
        gradients(trainer)
        scaler.unscale_(trainer.optimizer)
        trainer.learner.drop_gradients()
    scaler.unscale_(trainer.optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(trainer.optimizer)


def test_what_is_not_finite_is_told_with_its_step(make_trainer: Callable[..., Any]) -> None:
    learner = make_trainer("mood").learner
    learner.check_finite(3)
    learner.window.norm = torch.tensor(float("inf"))
    with pytest.raises(DivergedError, match=r"step 3: the gradient norm is inf; lower training.learning_rate"):
        learner.check_finite(3)
