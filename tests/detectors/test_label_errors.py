import sys

import numpy as np
import pytest

from jenga.detectors.label_errors import label_errors
from jenga.errors import SetupError


def flipped(n_rows: int = 400, n_classes: int = 4, share: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities that know the truth, labels of which a share is wrong, and the wrong ones' places."""
    generator = np.random.default_rng(3)
    truth = generator.integers(n_classes, size=n_rows)
    probabilities = generator.dirichlet(np.ones(n_classes), n_rows) * 0.3
    probabilities[np.arange(n_rows), truth] += 0.7
    wrong = np.sort(generator.choice(n_rows, int(share * n_rows), replace=False))
    labels = truth.copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, n_classes, size=len(wrong))) % n_classes
    return probabilities, labels, wrong


def hits(found: np.ndarray, wrong: np.ndarray) -> tuple[float, float]:
    """Return precision and recall."""
    shared = len(np.intersect1d(found, wrong))
    return shared / len(found), shared / len(wrong)


def test_flipped_labels_are_found_worst_first_and_told_what_they_may_be() -> None:
    probabilities, labels, wrong = flipped()
    found = label_errors(probabilities, labels)
    assert hits(found.rows, wrong) >= (0.95, 0.8)
    assert (np.diff(found.scores[found.rows]) >= 0).all()
    assert (found.suggested == probabilities.argmax(axis=1)).all()


def test_rows_without_a_label_are_never_found_and_change_nothing() -> None:
    probabilities, labels, _ = flipped()
    more = np.vstack([probabilities, probabilities[:50]])
    found = label_errors(more, np.concatenate([labels, np.full(50, -100)]))
    assert found.rows.tolist() == label_errors(probabilities, labels).rows.tolist()
    assert np.isnan(found.scores[400:]).all()
    assert not np.isnan(found.scores[:400]).any()


def test_classes_without_a_row_do_not_get_in_the_way() -> None:
    probabilities, labels, wrong = flipped()
    wider = np.insert(probabilities, [1, 4], 0.0, axis=1)
    found = label_errors(wider, np.array([0, 2, 3, 4])[labels])
    assert hits(found.rows, wrong) >= (0.95, 0.8)


@pytest.mark.parametrize("labels", [np.full(6, -100), np.full(6, 2), np.empty(0, np.int64)])
def test_rows_of_one_class_or_none_have_no_errors(labels: np.ndarray) -> None:
    assert label_errors(np.full((len(labels), 3), 1 / 3), labels).rows.size == 0


@pytest.mark.parametrize(
    ("probabilities", "labels", "words"),
    [
        (np.ones((3, 2)), np.zeros(4), "expected"),
        (np.ones((2, 2)), np.array([0, 2]), "label 2; expected 0 to 1"),
        (np.array([[np.nan, 1], [0, 1]]), np.array([0, 1]), "1 rows"),
    ],
)
def test_what_cannot_be_is_refused(probabilities: np.ndarray, labels: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        label_errors(probabilities, labels)


def test_a_missing_cleanlab_is_told_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(SetupError, match=r"jenga\[audit\]"):
        label_errors(*flipped()[:2])
