"""The threshold of an item is where the F1 of its yes is best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import seeds

from jenga.labels.thresholds import best_threshold


def f1(threshold: float, probability: np.ndarray, target: np.ndarray) -> float:
    yes, gold = probability >= threshold, target > 0.5
    return float(2 * (yes & gold).sum() / max((yes.sum() + gold.sum()), 1))


def test_no_other_threshold_gives_a_better_f1() -> None:
    draw = np.random.default_rng(seeds.derived("thresholds"))
    for _ in range(200):
        # Few values, so that some tie: these are answered alike, whatever their order.
        probability, target = draw.integers(0, 4, 12) / 4, draw.integers(0, 2, 12).astype(float)
        best = f1(best_threshold(probability, target), probability, target)
        assert all(f1(other, probability, target) <= best for other in np.unique(probability))


def test_it_lies_between_the_two_answers_that_it_parts() -> None:
    assert best_threshold(np.array([0.9, 0.6, 0.2]), np.array([1.0, 1.0, 0.0])) == pytest.approx(0.4)


def test_missing_answers_do_not_count_and_without_a_yes_it_is_a_half() -> None:
    probability = np.array([0.9, 0.7, 0.1])
    assert best_threshold(probability, np.array([np.nan, 1.0, 0.0])) == pytest.approx(0.4)
    assert best_threshold(probability, np.array([np.nan, 0.0, 0.0])) == 0.5
    for order in itertools.permutations(range(3)):
        at = list(order)
        assert best_threshold(probability[at], np.array([np.nan, 1.0, 0.0])[at]) == pytest.approx(0.4)
