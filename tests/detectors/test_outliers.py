import numpy as np
import pytest

from jenga.detectors.outliers import outliers


def test_rows_far_from_all_others_are_found_farthest_first_and_no_others() -> None:
    features = np.random.default_rng(6).normal(size=(600, 4))
    features[17], features[400] = 60.0, 30.0
    assert outliers(features).rows.tolist() == [17, 400]


def test_neighbours_may_be_drawn_from_fewer_rows() -> None:
    features = np.random.default_rng(6).normal(size=(600, 4))
    features[17] = 60.0
    assert outliers(features, references=100).rows.tolist() == [17]


def test_equal_rows_are_no_outliers() -> None:
    found = outliers(np.ones((50, 3)))
    assert found.rows.size == 0
    assert np.isfinite(found.scores).all()


def test_nothing_is_far_among_too_few_rows() -> None:
    assert outliers(np.array([[0.0], [1.0], [1e9]])).rows.size == 0


def test_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        outliers(np.full((30, 2), np.nan))
