import numpy as np
import pytest

from jenga.detectors.robust import deviation


def test_it_is_the_standard_deviation_of_normal_numbers_and_no_outlier_moves_it() -> None:
    values = np.random.default_rng(0).normal(5, 3, size=20_001)
    assert deviation(values) == pytest.approx(3, rel=0.03)
    values[:100] = 1e9
    assert deviation(values) == pytest.approx(3, rel=0.03)
