"""How far a number lies above those before it."""

from __future__ import annotations

import numpy as np
import pytest
import seeds

from jenga.sentinel.settings import SentinelConfig
from jenga.sentinel.spikes import LEAST, RobustZ


def test_threefold_losses_are_found_and_plain_ones_are_not() -> None:
    """At the defaults, noise of .2 in the logarithm: a recall of .90, and about 1.5 false alarms in 10,000 steps.

    20,000 steps: a count of 3 expected has a standard deviation of 1.7, so that 9 is over three of them away; a recall
    of .91 of 2,000 has one of .006.
    """
    defaults = SentinelConfig()
    rng = np.random.default_rng(seeds.derived(0))
    usual = RobustZ(defaults.window)
    logs = rng.normal(0.5, 0.2, 20_000)
    alarms, found, spikes = 0, 0, 0
    for at, log in enumerate(logs):
        if at >= defaults.window:
            alarms += usual.z(float(np.exp(log))) > defaults.spike_z
            if at % 10 == 0:
                spikes += 1
                found += usual.z(3 * float(np.exp(log))) > defaults.spike_z
        usual.add(float(np.exp(log)))
    assert alarms <= 9
    assert found / spikes >= 0.9 - 0.02


def test_one_outlier_among_those_before_hides_no_other() -> None:
    usual = RobustZ(40)
    for value in np.random.default_rng(seeds.derived(1)).lognormal(0, 0.1, 40):
        usual.add(float(value))
    before = usual.z(3.0)
    usual.add(1e6)
    assert usual.z(3.0) > 0.8 * before > 4


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_what_has_no_logarithm_is_neither_judged_nor_taken_in(value: float) -> None:
    usual = RobustZ(LEAST)
    for _ in range(LEAST):
        usual.add(1.0)
    usual.add(value)
    assert usual.z(value) == 0.0
    assert usual.state() == [0.0] * LEAST


def test_nothing_is_judged_before_enough_is_known() -> None:
    usual = RobustZ(100)
    for _ in range(LEAST - 1):
        usual.add(1.0)
    assert usual.z(100.0) == 0.0
    usual.add(1.0)
    assert usual.z(100.0) > 4


def test_a_number_that_hardly_moves_makes_no_spike_of_a_tenth_more() -> None:
    usual = RobustZ(100)
    for _ in range(100):
        usual.add(1.0)
    assert 0 < usual.z(1.1) < 4


def test_what_is_restored_judges_alike() -> None:
    usual, other = RobustZ(50), RobustZ(50)
    for value in np.random.default_rng(seeds.derived(2)).lognormal(0, 0.3, 70):
        usual.add(float(value))
    other.restore(usual.state())
    assert other.z(2.0) == usual.z(2.0) != 0
