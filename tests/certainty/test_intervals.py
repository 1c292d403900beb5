"""Intervals are those of the bootstrap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import seeds
from scipy.stats import bootstrap

from jenga.certainty import intervals as module
from jenga.certainty.intervals import intervals
from jenga.labels.certain import Additive


def nothing(places: np.ndarray) -> dict[str, float]:
    raise AssertionError("nothing is judged again")


def mean_of(values: np.ndarray) -> Additive:
    statistics = np.stack([values, np.ones(len(values))], axis=1)
    return Additive.of_rows(statistics, lambda sums: {"mean": sums[:, 0] / sums[:, 1]})


@pytest.mark.parametrize("kinds", [2, 300])
def test_an_interval_of_the_mean_is_that_of_scipy(kinds: int) -> None:
    draw = np.random.default_rng(seeds.derived(kinds))
    values = draw.integers(0, kinds, 300).astype(float)
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=draw).confidence_interval
    (ours,) = intervals({"mean": values.mean()}, mean_of(values), nothing, rows=300, resamples=4000, seed=0).values()
    # Ends drawn 4,000 times differ by about a twentieth of a standard error.
    assert ours == pytest.approx(list(theirs), abs=0.2 * values.std() / np.sqrt(300))


def test_an_interval_that_is_judged_again_is_that_of_sums() -> None:
    values = np.random.default_rng(seeds.derived(3)).normal(size=200)
    rows = {"rows": 200, "resamples": 200, "seed": 1}
    (sums,) = intervals({"mean": values.mean()}, mean_of(values), nothing, **rows).values()
    judged = intervals({"mean": values.mean()}, None, lambda at: {"mean": float(values[at].mean())}, **rows)
    assert judged["mean"] == pytest.approx(sums, abs=0.6 * values.std() / np.sqrt(200))


def test_a_metric_that_is_another_than_the_sums_say_is_judged_itself() -> None:
    values = np.random.default_rng(seeds.derived(4)).normal(size=100)
    found = intervals(
        {"mean": values.mean() + 7}, mean_of(values), lambda at: {"mean": float(values[at].mean() + 7)},
        rows=100, resamples=50, seed=0,
    )  # fmt: skip
    low, high = found["mean"]
    assert 6 < low < high < 8


def test_many_rows_are_not_judged_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(1000.0)
    monkeypatch.setattr(module, "MOST_JUDGED", 10_000)
    found = intervals({"mean": 499.5, "other": 1.0}, mean_of(values), nothing, rows=1000, resamples=100, seed=0)
    assert list(found) == ["mean"]


def test_a_metric_that_takes_long_to_judge_has_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(0.0, 0.8)
    judged: list[int] = []

    def slow(places: np.ndarray) -> dict[str, float]:
        judged.append(len(places))
        return {"slow": 1.0}

    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))
    assert intervals({"slow": 1.0}, None, slow, rows=20, resamples=100, seed=0) == {}
    assert len(judged) == 7, "no more once five seconds are over"


def test_the_same_rows_have_the_same_interval() -> None:
    values = np.arange(50.0)
    ours = [intervals({"mean": 24.5}, mean_of(values), nothing, rows=50, resamples=99, seed=5) for _ in range(2)]
    assert ours[0] == ours[1]
    assert intervals({"mean": 1.0}, None, nothing, rows=1, resamples=99, seed=5) == {}


def test_a_metric_that_most_draws_leave_undefined_has_none() -> None:
    def rarely(places: np.ndarray) -> dict[str, float]:
        return {"often": 1.0, **({"rarely": 1.0} if places[0] == 0 else {})}

    found = intervals({"often": 1.0, "rarely": 1.0}, None, rarely, rows=20, resamples=100, seed=0)
    assert found == {"often": [1.0, 1.0]}
