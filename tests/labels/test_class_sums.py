"""Sums of classes: their kappa is that of grades, and undefined where one grade is all there is."""

from __future__ import annotations

import numpy as np
import pytest

from jenga.labels.class_sums import class_sums
from jenga.labels.classes import kappa


def of_all(predicted: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    found = class_sums(predicted, gold)
    counts = np.bincount(found.cells, minlength=found.parts.shape[0]).astype(float)
    return {name: float(value[0]) for name, value in found.metrics(counts[None] @ found.parts).items()}


def test_an_answer_that_no_target_has_is_wrong_and_no_more() -> None:
    found = of_all(np.array([5, 0, 1]), np.array([0, 0, 1]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["kappa"] == pytest.approx(kappa(np.array([5, 0, 1]), np.array([0, 0, 1]), weights="quadratic"))


def test_kappa_is_undefined_where_one_grade_is_all_there_is() -> None:
    assert np.isnan(of_all(np.array([2, 2]), np.array([2, 2]))["kappa"])
