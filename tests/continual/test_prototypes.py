"""Class prototypes on an encoder that is never trained."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import OAS

from jenga.continual.prototypes import Prototypes, shrunk


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 300)
    mixing = rng.normal(size=(6, 6))
    return rng.normal(size=(4, 6))[classes] * 2 + rng.normal(size=(300, 6)) @ mixing, classes


def test_the_nearest_class_is_that_of_the_least_mahalanobis_distance(
    blobs: tuple[np.ndarray, np.ndarray],
) -> None:
    features, classes = blobs
    made = Prototypes(4, 6)
    made.fit(features, classes)
    means = np.stack([features[classes == each].mean(0) for each in range(4)])
    within = features - means[classes]
    # Reference: the distance by its definition.
    precision = np.linalg.inv(shrunk(within.T @ within / 300, 300))
    apart = features[:, None] - means
    nearest = np.einsum("mch,hi,mci->mc", apart, precision, apart).argmin(1)
    assert (made.predict(features) == nearest).all()


def test_shrinking_is_oas(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    features = blobs[0][:9] - blobs[0][:9].mean(0)
    wanted = OAS(assume_centered=True).fit(features).covariance_
    np.testing.assert_allclose(shrunk(features.T @ features / 9, 9), wanted, rtol=1e-10)


def test_rows_in_pieces_are_the_same_as_all_at_once(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    features, classes = blobs
    whole, pieces = Prototypes(4, 6), Prototypes(4, 6)
    whole.fit(features, classes)
    for part in np.array_split(np.random.default_rng(1).permutation(300), 5):
        pieces.fit(features[part], classes[part])
    assert (whole.predict(features) == pieces.predict(features)).all()
    # float64 sums in another order
    np.testing.assert_allclose(whole.products, pieces.products, rtol=1e-12)


def test_a_class_that_has_not_been_seen_is_never_answered_and_missing_labels_count_for_nothing(
    blobs: tuple[np.ndarray, np.ndarray],
) -> None:
    features, classes = blobs
    made = Prototypes(4, 6)
    made.fit(features[classes != 2], classes[classes != 2])
    assert set(made.predict(features).tolist()) == {0, 1, 3}
    counts = made.counts.copy()
    made.fit(features, np.full(300, -100))
    assert (made.counts == counts).all()


def test_one_row_a_class_is_enough() -> None:
    made = Prototypes(2, 3)
    made.fit(np.eye(3)[:2], np.array([0, 1]))
    assert made.predict(np.eye(3)[:2] * 3).tolist() == [0, 1]
