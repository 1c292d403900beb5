import tracemalloc

import numpy as np
import pytest

from jenga.detectors.out_of_sample import Linear, QuickModel, Trees


def separable(n_rows: int = 240, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(8)
    labels = generator.integers(n_classes, size=n_rows)
    features = generator.normal(size=(n_rows, 5)) * 0.3 + np.eye(5)[labels] * 2
    return features, labels


@pytest.mark.parametrize("model", [Linear(), Trees()])
def test_a_row_with_a_wrong_label_is_answered_by_what_the_others_say(model: QuickModel) -> None:
    features, labels = separable()
    wrong = labels.copy()
    wrong[:10] = (wrong[:10] + 1) % 3
    found = model.probabilities(features, wrong, 3)
    assert found.shape == (240, 3)
    assert np.allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == labels).mean() > 0.95
    assert (found[:10].argmax(axis=1) == labels[:10]).mean() > 0.8


def test_leaving_one_out_gives_what_fitting_without_the_row_gives() -> None:
    features, labels = separable(40)
    values = features @ np.arange(5.0) + labels
    found = Linear().numbers(features, values)
    for row in (0, 17, 39):
        others = np.delete(np.arange(40), row)
        fitted = np.hstack([features[others], np.ones((39, 1))])
        # The values are scaled by all rows, which is what the tolerance is for.
        gram = fitted.T @ fitted + 0.3 * np.eye(6)
        centred = values[others] - values.mean()
        alone = np.append(features[row], 1) @ np.linalg.solve(gram, fitted.T @ centred) + values.mean()
        assert found[row] == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("model", [Linear(), Trees()])
def test_rows_without_a_label_are_answered_and_teach_nothing(model: QuickModel) -> None:
    features, labels = separable()
    hidden = labels.copy()
    hidden[:30] = -100
    found = model.probabilities(features, hidden, 3)
    assert (found[:30].argmax(axis=1) == labels[:30]).mean() > 0.9
    values = labels.astype(float)
    values[:30] = np.nan
    assert np.abs(model.numbers(features, values)[:30] - labels[:30]).mean() < 0.3


@pytest.mark.parametrize("rows_at_once", [1, 7, 1000])
def test_pieces_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch, rows_at_once: int) -> None:
    features, labels = separable()
    labels[::9] = -100
    wanted = Linear().probabilities(features, labels, 3)
    monkeypatch.setattr("jenga.detectors.out_of_sample._ROWS_AT_ONCE", rows_at_once)
    assert np.allclose(Linear().probabilities(features, labels, 3), wanted, atol=1e-4)  # sums in float32


def test_a_linear_model_takes_little_memory_beside_its_rows_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jenga.detectors.out_of_sample._ROWS_AT_ONCE", 256)
    generator = np.random.default_rng(0)
    features = generator.normal(size=(20_000, 100)).astype(np.float32)
    labels = generator.integers(50, size=20_000)
    tracemalloc.start()
    try:
        answers = Linear().probabilities(features, labels, 50)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * answers.nbytes


def test_trees_live_with_a_class_of_one_row() -> None:
    features, labels = separable()
    labels[5] = 3
    assert Trees().probabilities(features, labels, 4).shape == (240, 4)


def test_a_fitted_linear_model_answers_rows_that_it_has_not_seen() -> None:
    features, labels = separable()
    answer = Linear().fitted(features[:200], labels[:200], 3)
    assert (answer(features[200:]) == labels[200:]).mean() > 0.95
