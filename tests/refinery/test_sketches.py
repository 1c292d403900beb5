"""Moments and counts that add up."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import seeds

from jenga.errors import DataError
from jenga.refinery import sketches
from jenga.refinery.sketches import Moments, TokenBuckets, TokenCounts, ValueCounts, cut, quantiles


def counted(values: Any) -> ValueCounts:
    made = ValueCounts()
    made.update(np.asarray(values, np.float64))
    return made


def merged(parts: Any) -> Any:
    first, *rest = parts
    for each in rest:
        first.merge(each)
    return first


# ------------------------------------------------------------------------------------------------------------- moments


def test_merged_moments_are_those_of_all_values_despite_a_large_mean() -> None:
    values = 1.7e9 + np.random.default_rng(seeds.derived(0)).normal(size=10_001)
    found = merged([Moments.of(part) for part in np.array_split(values, 13)])
    assert found.n == len(values)
    assert found.mean == pytest.approx(values.mean(), rel=1e-14)
    # Values near 2**31 keep 22 bits after the point, so a deviation of 1 is known to about 1e-7.
    assert found.deviation == pytest.approx(values.std(), rel=1e-6)
    assert (found.least, found.greatest) == (values.min(), values.max())


def test_a_constant_has_no_deviation_however_its_mean_rounds() -> None:
    assert np.full(7, 0.1).mean() != 0.1
    found = merged([Moments.of(np.full(size, 0.1)) for size in (3, 7, 11)])
    assert (found.mean, found.deviation) == (0.1, 0.0)


def test_weights_count_values_several_times() -> None:
    values, weights = np.array([1.0, 5.0, 9.0]), np.array([4, 1, 2])
    whole = Moments.of(np.repeat(values, weights))
    found = Moments.of(values, weights)
    assert (found.n, found.least, found.greatest) == (7, 1.0, 9.0)
    assert found.mean == pytest.approx(whole.mean, rel=1e-15)
    assert found.m2 == pytest.approx(whole.m2, rel=1e-14)


def test_moments_of_nothing_change_nothing() -> None:
    found = Moments.of(np.array([2.0, 4.0]))
    found.merge(Moments.of(np.empty(0)))
    assert (found.n, found.mean, found.m2) == (2, 3.0, 2.0)
    assert Moments().deviation == 0.0


# -------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("seed", range(8))
def test_quantiles_are_numpys(seed: int) -> None:
    rng = np.random.default_rng(seeds.derived(seed))
    values = rng.choice(rng.normal(size=rng.integers(1, 50)) * 10.0 ** rng.integers(-5, 6), rng.integers(1, 200))
    shares = np.concatenate([np.linspace(0, 1, 101), [1 / 3, 0.25, 0.999]])
    np.testing.assert_allclose(counted(values).quantiles(shares), np.quantile(values, shares), rtol=1e-12, atol=1e-300)


def test_quantiles_of_a_billion_values_come_from_their_counts() -> None:
    found = quantiles(np.array([1.0, 2.0]), np.array([10**9, 10**9]), np.array([0.0, 0.25, 0.75, 1.0]))
    assert found.tolist() == [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize("limit", [5, 1000])
def test_any_split_and_order_gives_the_same_counts(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketches, "DISTINCT_LIMIT", limit)
    rng = np.random.default_rng(seeds.derived(1))
    values = np.round(rng.lognormal(sigma=3, size=300), 2) * rng.choice([-1, 0, 1], 300)
    whole = counted(values)
    assert whole.exact == (limit == 1000)
    for parts in permutations([values[:1], values[1:200], values[200:]]):
        found = merged([counted(part) for part in parts])
        assert found.exact == whole.exact
        np.testing.assert_array_equal(found.values, whole.values)
        np.testing.assert_array_equal(found.counts, whole.counts)


def test_values_past_the_limit_are_known_to_a_tenth_of_a_percent() -> None:
    values = np.random.default_rng(seeds.derived(2)).lognormal(sigma=2, size=3 * sketches.DISTINCT_LIMIT)
    values[::2] *= -1
    found = counted(values)
    assert not found.exact
    assert len(found.values) < len(values) / 5
    assert found.n == len(values)
    shares = np.linspace(0, 1, 1001)
    # A quantile lies between two values, each known to 2**-10; where the sign changes their parts cancel.
    ends = [np.abs(np.quantile(values, shares, method=method)) for method in ("lower", "higher")]
    error = np.abs(found.quantiles(shares) - np.quantile(values, shares))
    assert (error <= 2.0**-10 * np.maximum(*ends)).all()


def test_cutting_keeps_zero_and_whole_numbers_up_to_2048_and_signs() -> None:
    whole = np.arange(-2048.0, 2049.0)
    np.testing.assert_array_equal(cut(whole), whole)
    assert not np.signbit(cut(np.array([-0.0]))).any()
    values = np.array([np.pi, -np.pi, 1e300, 5e-324])
    assert (np.abs(cut(values)) <= np.abs(values)).all()
    np.testing.assert_array_equal(cut(cut(values)), cut(values))


def test_negative_zero_is_zero() -> None:
    found = counted([0.0, -0.0])
    assert (found.values.tolist(), found.counts.tolist()) == ([0.0], [2])
    assert not np.signbit(found.values).any()


def test_the_place_of_a_value_is_the_middle_of_its_ties() -> None:
    found = counted([1, 2, 2, 3])
    assert found.quantiles_of(np.array([0, 1, 2, 2.5, 3, 4])).tolist() == [0, 0.125, 0.5, 0.75, 0.875, 1]
    assert found.shares_of(np.array([2.0, 5.0])).tolist() == [0.5, 0.0]
    assert np.isnan(ValueCounts().quantiles_of(np.array([1.0]))).all()
    assert np.isnan(ValueCounts().shares_of(np.array([1.0]))).all()


def test_a_histogram_counts_what_lies_up_to_each_edge() -> None:
    assert counted([0, 1, 1, 2, 5]).histogram(np.array([1.0, 4.0])).tolist() == [3, 1, 1]
    assert ValueCounts().histogram(np.array([1.0])).tolist() == [0, 0]


def test_quantiles_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        ValueCounts().quantiles(np.array([0.5]))


# -------------------------------------------------------------------------------------------------------------- tokens


def test_the_most_frequent_texts_come_first_and_ties_by_bytes() -> None:
    found = TokenCounts()
    found.update([b"b", b"\xc3\xa9", b"a", b"z"], [2, 2, 2, 5])
    assert found.top(3, 1) == [b"z", b"a", b"b"]
    assert found.top(9, 3) == [b"z"]
    assert (found.n, found.shares_of([b"z", b"?"]).tolist()) == (11, [5 / 11, 0.0])
    assert np.isnan(TokenCounts().shares_of([b"a"])).all()


def test_too_many_different_texts_are_no_category(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketches, "TOKEN_LIMIT", 2)
    found = TokenCounts({b"a": 1})
    found.update([b"a", b"b"], [1, 1])
    with pytest.raises(
        DataError, match="more than 2 different values, which is no category; give the field 'encoding: h"
    ):
        found.merge(TokenCounts({b"c": 1}))


def test_buckets_count_texts_without_keeping_them() -> None:
    found = TokenBuckets()
    found.update([b"secret", b"", b"secret"], [3, 1, 1])
    assert found.n == 5
    assert found.shares_of([b"secret"]).tolist() == [4 / 5]
    assert b"secret" not in b"".join(array.tobytes() for array in found.to_arrays().values())
    assert np.isnan(TokenBuckets().shares_of([b"secret"])).all()


def test_the_number_of_texts_is_kept_through_updates_merges_and_files() -> None:
    found = TokenCounts()
    found.update([b"a", b"b"], [2, 3])
    found.merge(TokenCounts({b"a": 4}))
    assert found.n == 9 == sum(found.counts.values())
    assert TokenCounts.from_arrays(found.to_arrays()).n == 9


# ------------------------------------------------------------------------------------------------------------ the file


@pytest.mark.parametrize(
    "part",
    [
        Moments(),
        Moments.of(np.array([1.0, 2.5])),
        ValueCounts(),
        counted([3.0, 3.0, -1e300]),
        ValueCounts(np.array([1.0]), np.array([9]), exact=False),
        TokenCounts(),
        TokenCounts({b"": 1, b"\xc3\xa9": 2, b"a": 3}),
        TokenBuckets(),
    ],
    ids=repr,
)
def test_arrays_read_back_as_the_same(part: Any) -> None:
    again = type(part).from_arrays(part.to_arrays())
    first, second = part.to_arrays(), again.to_arrays()
    assert first.keys() == second.keys()
    assert all(first[key].tobytes() == second[key].tobytes() for key in first)
