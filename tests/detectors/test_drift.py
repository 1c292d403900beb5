import numpy as np
import pytest

from jenga.detectors.drift import binned, by_chance, drifts, population_stability


def test_psi_is_the_symmetric_divergence_of_shares() -> None:
    known = population_stability(np.array([500_000, 500_000]), np.array([600_000, 400_000]))
    assert known == pytest.approx(0.1 * np.log(1.5), rel=1e-4)


def test_samples_of_the_same_rows_have_about_the_psi_of_chance() -> None:
    generator = np.random.default_rng(4)
    counts = [generator.multinomial(2_000, np.full(10, 0.1)) for _ in range(100)]
    found = np.mean([population_stability(one, other) for one, other in zip(counts[::2], counts[1::2], strict=True)])
    assert found == pytest.approx(by_chance(counts[0], counts[1]), rel=0.3)


def test_a_change_is_major_only_where_rows_are_enough_to_tell() -> None:
    assert drifts(np.array([900, 100]), np.array([500, 500]))[1]
    assert not drifts(np.array([900, 100]), np.array([850, 150]))[1]
    assert not drifts(np.array([9, 1]), np.array([5, 5]))[1]


def test_numbers_fall_between_deciles_of_the_first_rows_and_missing_ones_apart() -> None:
    before, after = binned(np.arange(100.0), np.array([-5.0, 95.0, 200.0, np.nan]))
    assert before.tolist() == [10] * 10 + [0]
    assert after.tolist() == [1] + [0] * 8 + [2, 1]


def test_numbers_that_are_all_missing_are_one_bin() -> None:
    before, after = binned(np.full(3, np.nan), np.array([1.0]))
    assert (before.tolist(), after.tolist()) == ([0, 3], [1, 0])
