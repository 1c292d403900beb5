import sys

import numpy as np
import pytest

from jenga.detectors.label_errors import label_errors, number_errors
from jenga.errors import SetupError


def flipped(n_rows: int = 400, n_classes: int = 4, share: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities that know the truth, labels of which a share is wrong, and the wrong ones' places."""
    generator = np.random.default_rng(3)
    truth = generator.integers(n_classes, size=n_rows)
    probabilities = generator.dirichlet(np.ones(n_classes), n_rows) * 0.15
    probabilities[np.arange(n_rows), truth] += 0.85
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
    precision, recall = hits(found.rows, wrong)
    assert precision >= 0.95
    assert recall >= 0.8
    assert (np.diff(found.scores[found.rows] / probabilities[found.rows].max(axis=1)) >= 0).all()
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
    precision, recall = hits(found.rows, wrong)
    assert precision >= 0.95
    assert recall >= 0.8


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
    monkeypatch.setitem(sys.modules, "cleanlab.count", None)
    with pytest.raises(SetupError, match=r"jenga\[audit\]"):
        label_errors(*flipped()[:2])


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_of_two_classes_many_wrong_labels_are_found_as_few_are(share: float) -> None:
    generator = np.random.default_rng(9)
    truth = generator.integers(2, size=2_000)
    wrong = generator.random(2_000) < share
    # A model of such labels is as unsure as they are.
    sure = 1 - share - 0.1 * generator.random(2_000) * share
    probabilities = np.where(np.eye(2)[truth] == 1, sure[:, None], 1 - sure[:, None])
    found = label_errors(probabilities, np.where(wrong, 1 - truth, truth))
    precision, recall = hits(found.rows, np.flatnonzero(wrong))
    assert precision >= 0.95
    assert recall >= 0.95


def test_labels_that_are_alike_are_left_to_people_unless_all_is_asked_for() -> None:
    generator = np.random.default_rng(10)
    truth = generator.integers(40, size=2_000)
    probabilities = np.full((2_000, 40), 0.1 / 40)
    probabilities[np.arange(2_000), truth] += 0.88
    probabilities[np.arange(2_000), (truth + 1) % 40] += 0.02
    alike, apart = np.arange(40), np.arange(40, 80)
    labels = truth.copy()
    labels[alike], labels[apart] = (truth[alike] + 1) % 40, (truth[apart] + 20) % 40
    assert sorted(label_errors(probabilities, labels).rows) == apart.tolist()
    assert len(label_errors(probabilities, labels, odds=1, near=0).rows) == 80


def test_numbers_far_from_what_is_predicted_are_scored_and_missing_ones_never() -> None:
    generator = np.random.default_rng(11)
    predicted = generator.normal(size=300)
    values = predicted + generator.normal(size=300) * 0.1
    values[5], values[6] = predicted[5] + 3, np.nan
    scores = number_errors(predicted, values)
    assert np.flatnonzero(scores).tolist() == [5]
    assert scores[5] == pytest.approx(30, rel=0.2)
    assert not number_errors(predicted, predicted).any()
    assert not number_errors(predicted, np.full(300, np.nan)).any()
