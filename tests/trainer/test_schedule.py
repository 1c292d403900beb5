"""A schedule that begins anew with each stage."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from jenga.config.training import LearningRates, ResolvedTraining
from jenga.trainer.optim import make_scheduler
from jenga.trainer.schedule import StagedSchedule

STEPS = (4, 6)


def made(**training: Any) -> tuple[ResolvedTraining, Any]:
    given = ResolvedTraining(
        **{"epochs": 1, "batch_size": 1, "learning_rate": LearningRates(), "warmup_ratio": 0.5, **training}
    )
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    return given, torch.optim.AdamW(
        [{"params": [each], "lr": rate} for each, rate in zip(weights, (0.1, 0.4), strict=True)]
    )


def rates(schedule: Any, optimizer: Any, steps: int) -> list[list[float]]:
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant"])
def test_each_stage_has_the_rates_of_a_training_of_its_own_length(scheduler: str) -> None:
    training, optimizer = made(scheduler=scheduler)
    schedule = StagedSchedule(optimizer, training, STEPS)
    found = []
    for stage, steps in enumerate(STEPS):
        schedule.begin(stage)
        found.append(rates(schedule, optimizer, steps))
    for steps, own in zip(STEPS, found, strict=True):
        _, alone = made()
        assert own == rates(make_scheduler(alone, training, steps), alone, steps)
        assert len({rate for rate, _ in own}) > 1, "a constant rate is warmed up too"


def test_the_stage_that_is_running_does_not_begin_again() -> None:
    training, optimizer = made()
    schedule = StagedSchedule(optimizer, training, STEPS)
    rates(schedule, optimizer, 2)
    before = [group["lr"] for group in optimizer.param_groups]
    schedule.begin(0)
    assert [group["lr"] for group in optimizer.param_groups] == before


@pytest.mark.parametrize("done", [0, 2, 4, 7, 10])
def test_it_goes_on_from_its_state(done: int) -> None:
    training, optimizer = made()
    schedule = StagedSchedule(optimizer, training, STEPS)

    def advance(schedule: Any, optimizer: Any, start: int, end: int) -> list[Any]:
        found = []
        for step in range(start, end):
            schedule.begin(0 if step < STEPS[0] else 1)
            found += rates(schedule, optimizer, 1)
        return found

    advance(schedule, optimizer, 0, done)
    state = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
    _, other = made()
    resumed = StagedSchedule(other, training, STEPS)
    other.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    assert advance(resumed, other, done, 10) == advance(schedule, optimizer, done, 10)
