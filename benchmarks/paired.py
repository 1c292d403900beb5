"""A/B timing in one process: the two alternate, so that drift of a shared machine meets both alike."""

import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

SMOKE = os.environ.get("JENGA_BENCH_SMOKE") == "1"
"""Whether to run each benchmark once at a small size: that it runs and is right is shown then, not how fast it is."""


@dataclass(frozen=True)
class PairedRatio:
    """The time of a candidate over that of a baseline.

    Attributes:
        ratio: median over rounds of candidate time / baseline time; below 1 the candidate is faster.
        low, high: 95% bootstrap interval of that median.
        candidate_s, baseline_s: median seconds of one call.
        rounds: number of rounds; calls: calls of each in one round.
    """

    ratio: float
    low: float
    high: float
    candidate_s: float
    baseline_s: float
    rounds: int
    calls: int

    def __str__(self) -> str:
        times = f"{self.candidate_s * 1e6:.0f} us against {self.baseline_s * 1e6:.0f} us"
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}]  ({times})"

    def as_dict(self) -> dict[str, float | int]:
        """The fields by name, for JSON."""
        return asdict(self)


def compare(
    candidate: Callable[[], object],
    baseline: Callable[[], object],
    *,
    rounds: int = 60,
    min_round_s: float = 2e-3,
    warmup: int = 5,
    n_bootstrap: int = 2000,
    clock: Callable[[], float] = time.perf_counter,
) -> PairedRatio:
    """Times two functions in alternation and returns the median of the per-round ratios with its interval.

    Args:
        candidate, baseline: called without arguments; what they return is dropped.
        rounds: rounds to time. Which of the two goes first alternates.
        min_round_s: each is called often enough in a round that the baseline takes about this long.
        warmup: untimed calls of each before the first round. A smoke run takes one, and five rounds of one call.
        n_bootstrap: resamples of the rounds behind the interval.
        clock: seconds; time.process_time tells what both cost where other jobs take the cores in between.

    Raises:
        ValueError: fewer than 2 rounds, which have no interval.
    """
    if rounds < 2:
        raise ValueError(f"rounds: got {rounds}; allowed: 2 or more")
    if SMOKE:
        rounds, warmup, min_round_s = min(rounds, 5), 1, 0.0
    for _ in range(warmup):
        candidate()
        baseline()
    calls = max(1, round(min_round_s / max(_time_calls(baseline, 1, clock), 1e-9)))
    candidate_times, baseline_times = _alternate(candidate, baseline, rounds, calls, clock)
    ratios = np.array(candidate_times) / np.array(baseline_times)
    picks = np.random.default_rng(0).integers(0, rounds, size=(n_bootstrap, rounds))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5])
    return PairedRatio(
        ratio=float(np.median(ratios)),
        low=float(low),
        high=float(high),
        candidate_s=statistics.median(candidate_times) / calls,
        baseline_s=statistics.median(baseline_times) / calls,
        rounds=rounds,
        calls=calls,
    )


def held(ratio: PairedRatio, below: float) -> None:
    """Fail where even the low end of the interval is no less than `below`, a floor that is loose for shared machines.

    A smoke run, a few calls at a size where Python's own cost rules, allows five times as much.
    """
    allowed = 5 * below if SMOKE else below
    assert ratio.low < allowed, f"a regression, not noise: {ratio}; allowed: below {allowed}"


def _alternate(
    candidate: Callable[[], object],
    baseline: Callable[[], object],
    rounds: int,
    calls: int,
    clock: Callable[[], float],
) -> tuple[list[float], list[float]]:
    candidate_times: list[float] = []
    baseline_times: list[float] = []
    collector_was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for index in range(rounds):
            if index % 2 == 0:
                candidate_times.append(_time_calls(candidate, calls, clock))
                baseline_times.append(_time_calls(baseline, calls, clock))
            else:
                baseline_times.append(_time_calls(baseline, calls, clock))
                candidate_times.append(_time_calls(candidate, calls, clock))
    finally:
        if collector_was_on:
            gc.enable()
    return candidate_times, baseline_times


def _time_calls(function: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        function()
    return clock() - start
