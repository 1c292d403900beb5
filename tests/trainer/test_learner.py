"""A step, or its leaving out, seen from below the loop."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch

from jenga.callbacks import Action, BaseCallback, NestedLearning
from jenga.errors import DivergedError, InterruptedRun
from jenga.trainer.checkpoint import load_checkpoint, newest_checkpoint

needs_torchjd = pytest.mark.skipif(importlib.util.find_spec("torchjd") is None, reason="jenga[conflicts] is not there")


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


# ---------------------------------------------------------------------------------- an optimizer that a callback gives


class Halved(BaseCallback):
    """A user's callback in ten lines."""

    def make_optimizer(self, groups, names, make):  # type: ignore[no-untyped-def]
        for group in groups:
            heads = all(names[p].startswith("tasks.") for p in group["params"])
            group["lr"] *= 1.0 if heads else 0.5
        return make(groups, "sgd")


def test_a_callback_gives_the_optimizer_and_schedule_and_records_are_of_it(make_trainer: Callable[..., Any]) -> None:
    training = {"learning_rate": 0.1, "warmup_ratio": 0.0, "epochs": 1, "ema": 0.5}
    trainer = make_trainer("mood", callbacks=[Halved()], training=training)
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    trainer.train()
    first, *_ = [line for line in trainer.log.path.read_text().splitlines() if '"train"' in line]
    steps = trainer.total_steps
    assert f'"learning_rate": {{"backbone": {0.05 * (1 - 1 / steps)}, "heads": {0.1 * (1 - 1 / steps)}}}' in first


LEVELS = [{"match": "*.encoder.*", "period": 3}, {"match": "tasks.mood.*", "period": 2, "reduction": "sum"}]
PLAIN: dict[str, Any] = {}
ALL_AT_ONCE = {
    "epochs": 2,
    "layer_decay": 0.8,
    "ema": 0.9,
    "gradient_accumulation_steps": 2,
    "loss_balance": "uncertainty",
}


def at_periods_of_one() -> list[dict[str, Any]]:
    return [{**level, "period": 1} for level in LEVELS]


def run_of(make: Callable[..., Any], training: dict[str, Any], *callbacks: BaseCallback, **options: Any) -> Any:
    usual = {"learning_rate": 1e-2, "batch_size": 4, "epochs": 1, **training}
    return make("mood", "price", training=usual, callbacks=callbacks, **options)


@pytest.mark.parametrize(
    ("training", "options"),
    [
        (PLAIN, {}),
        (ALL_AT_ONCE, {}),
        (PLAIN, {"peft": {"type": "lora"}}),
        pytest.param({"gradient_conflict": "upgrad"}, {}, marks=needs_torchjd),
    ],
)
def test_levels_at_periods_of_one_are_the_run_of_plain_adamw_bit_for_bit(
    make_trainer: Callable[..., Any], training: dict[str, Any], options: dict[str, Any]
) -> None:
    found = []
    for callbacks in ([], [NestedLearning(levels=at_periods_of_one())]):
        trainer = run_of(make_trainer, training, *callbacks, **options)
        trainer.train()
        found.append([p.detach().clone() for p in (*trainer.model.parameters(), *trainer.learner.balance.parameters())])
    assert trainer.optimizer.param_groups[0]["fused"]
    assert trainer.total_steps > 3
    assert all(map(torch.equal, *found))


class Interrupts(BaseCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        trainer.interrupted = trainer.state.step == self.step


@pytest.mark.parametrize(
    ("training", "options"),
    [
        (PLAIN, {}),
        (ALL_AT_ONCE, {}),
        ({"optimizer": {"name": "m3", "period": 2}}, {}),
        ({"optimizer": "deep_momentum"}, {"peft": {"type": "lora"}}),
    ],
)
def test_a_run_that_is_resumed_in_the_middle_of_a_period_is_the_uninterrupted_one_bit_for_bit(
    make_trainer: Callable[..., Any], training: dict[str, Any], options: dict[str, Any]
) -> None:
    def make(*callbacks: BaseCallback, **more: Any) -> Any:
        return run_of(make_trainer, training, NestedLearning(levels=LEVELS), *callbacks, **options, **more)

    straight = make()
    straight.train()
    cut = make(Interrupts(4))
    with pytest.raises(InterruptedRun):
        cut.train()
    newest = newest_checkpoint(cut.run.checkpoints)
    assert newest is not None
    assert any("accumulated" in name for name in load_checkpoint(newest)[0]["optimizer"])
    resumed = make(run=cut.folder)
    assert resumed.state.step == 4
    assert {group["level_clock"] for group in resumed.optimizer.param_groups} == {1, 0}
    resumed.train()
    assert straight.total_steps > 6
    assert all(map(torch.equal, straight.model.parameters(), resumed.model.parameters()))
    tensors = [load_checkpoint(newest_checkpoint(each.run.checkpoints))[0] for each in (straight, resumed)]  # type: ignore[arg-type]
    for group, of_straight in tensors[0].items():
        assert of_straight.keys() == tensors[1][group].keys()
        assert all(torch.equal(each, tensors[1][group][name]) for name, each in of_straight.items())


class Skips(BaseCallback):
    """Skips step 2, and notes the weights of the encoder after each."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_before_optimizer_step(self, trainer: Any, grad_norm: torch.Tensor, **kwargs: Any) -> Action | None:
        return Action.SKIP if trainer.state.step == 1 else None

    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        self.seen.append(trainer.model.encoders["shared"].encoder.embeddings.word_embeddings.weight.detach().clone())


def test_a_step_left_out_adds_nothing_to_a_period_and_is_none_of_it(make_trainer: Callable[..., Any]) -> None:
    """Three steps make a period; the second of the run is left out, so that the first ends with the fourth."""
    skips = Skips()
    trainer = run_of(make_trainer, PLAIN, NestedLearning(levels=LEVELS[:1]), skips)
    trainer.train()
    moved = [at + 1 for at in range(1, len(skips.seen)) if not skips.seen[at - 1].equal(skips.seen[at])]
    assert moved[:2] == [4, 7]
