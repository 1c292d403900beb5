"""Losses and gradient norms, step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import seeds

from jenga.sentinel.watch import Watch


def usual() -> Watch:
    watch = Watch(50, 4.0)
    for loss, norm in np.random.default_rng(seeds.derived(0)).lognormal(0, 0.1, (60, 2)):
        watch.add({"mood": float(loss)}, float(norm))
    return watch


def test_a_usual_step_alarms_nobody() -> None:
    assert usual().judge({"mood": 1.0}, 1.0) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_told_by_what_it_is_of(value: float) -> None:
    assert [each[:2] for each in usual().judge({"mood": value}, 1.0)] == [("non_finite", "mood")]
    assert [each[:2] for each in usual().judge({"mood": 1.0}, value)] == [("non_finite", "gradient")]


def test_spikes_and_outliers_have_their_names() -> None:
    alarms = usual().judge({"mood": 9.0, "new": 9.0}, 20.0)
    assert [each[:2] for each in alarms] == [("loss_spike", "mood"), ("gradient_outlier", "gradient")]
    assert all(each.z > 4 for each in alarms)


def test_what_is_restored_judges_alike() -> None:
    watch, other = usual(), Watch(50, 4.0)
    other.restore(watch.state())
    assert other.judge({"mood": 9.0}, 20.0) == watch.judge({"mood": 9.0}, 20.0) != []
