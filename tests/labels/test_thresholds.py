"""A threshold is where what it is chosen by is best, and says so where what is asked for cannot be had."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import seeds

from jenga.labels.thresholds import F1, ThresholdRule, chosen_threshold

Quality = Callable[[float, np.ndarray, np.ndarray], float]


def best_threshold(probability: np.ndarray, target: np.ndarray) -> float:
    return chosen_threshold(probability, target, F1).threshold


def counts(threshold: float, probability: np.ndarray, target: np.ndarray) -> tuple[int, int, int]:
    yes, gold = probability >= threshold, target > 0.5
    return int((yes & gold).sum()), int((yes & ~gold).sum()), int((~yes & gold).sum())


def f1(threshold: float, probability: np.ndarray, target: np.ndarray) -> float:
    hits, alarms, misses = counts(threshold, probability, target)
    return 2 * hits / max(2 * hits + alarms + misses, 1)


def samples() -> list[tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(seeds.derived("thresholds"))
    # Few values, so that some tie: these are answered alike, whatever their order.
    drawn = [(draw.integers(0, 5, 14) / 5, draw.integers(0, 2, 14).astype(float)) for _ in range(200)]
    return [(probability, target) for probability, target in drawn if 0 < target.sum() < len(target)]


def all_cuts(probability: np.ndarray) -> np.ndarray:
    return np.append(np.unique(probability), 1.0)


def test_no_other_threshold_gives_a_better_f1() -> None:
    for probability, target in samples():
        best = f1(best_threshold(probability, target), probability, target)
        assert all(f1(other, probability, target) <= best for other in np.unique(probability))


def test_no_other_threshold_costs_less() -> None:
    rule = ThresholdRule("cost", false_positive=1.0, false_negative=5.0)

    def cost(threshold: float, probability: np.ndarray, target: np.ndarray) -> float:
        _, alarms, misses = counts(threshold, probability, target)
        return alarms + 5 * misses

    for probability, target in samples():
        least = cost(chosen_threshold(probability, target, rule).threshold, probability, target)
        assert least == min(cost(other, probability, target) for other in all_cuts(probability))


@pytest.mark.parametrize("objective", ["precision", "recall", "false_positive_rate"])
def test_a_rate_is_reached_with_the_most_of_the_other(objective: str) -> None:
    def rates(threshold: float, probability: np.ndarray, target: np.ndarray) -> tuple[bool, float]:
        hits, alarms, misses = counts(threshold, probability, target)
        precision, recall = hits / max(hits + alarms, 1), hits / max(hits + misses, 1)
        low = alarms / max((target < 0.5).sum(), 1) <= 0.4 + 1e-12
        met = {"precision": precision >= 0.7, "recall": recall >= 0.7, "false_positive_rate": low}[objective]
        return met, precision if objective == "recall" else recall

    rule, reached = ThresholdRule(objective, 0.4 if objective == "false_positive_rate" else 0.7), 0  # type: ignore[arg-type]
    for probability, target in samples():
        found = chosen_threshold(probability, target, rule)
        others = [rates(each, probability, target) for each in all_cuts(probability)]
        possible = [other for met, other in others if met]
        assert bool(found.unmet) == (not possible)
        if possible:
            reached += 1
            assert rates(found.threshold, probability, target) == (True, max(possible))
    assert reached > 20


def test_what_cannot_be_reached_is_said_with_the_best_there_is() -> None:
    probability, target = np.array([0.9, 0.8, 0.7, 0.1]), np.array([0.0, 1.0, 1.0, 0.0])
    found = chosen_threshold(probability, target, ThresholdRule("precision", 0.95))
    assert found.unmet == "no threshold has a precision of 0.95; the best has 0.667"
    assert found.threshold == pytest.approx(0.4)
    certain = chosen_threshold(np.array([1.0, 1.0]), np.array([0.0, 1.0]), ThresholdRule("false_positive_rate", 0.1))
    assert certain.unmet == "no threshold has a false positive rate of 0.1; the best has 1"


def test_a_false_positive_rate_needs_no_yes() -> None:
    probability = np.random.default_rng(seeds.derived("alarms")).random(1000)
    found = chosen_threshold(probability, np.zeros(1000), ThresholdRule("false_positive_rate", 0.05)).threshold
    assert (probability >= found).sum() in (49, 50), "as many alarms as are allowed, not none"


def test_it_lies_between_the_two_answers_that_it_parts() -> None:
    assert best_threshold(np.array([0.9, 0.6, 0.2]), np.array([1.0, 1.0, 0.0])) == pytest.approx(0.4)


def test_neighbours_without_a_number_between_them_are_parted() -> None:
    high = np.nextafter(0.3, 1)
    assert best_threshold(np.array([high, 0.3]), np.array([1.0, 0.0])) == high


def test_missing_answers_do_not_count_and_without_a_yes_it_is_a_half() -> None:
    probability = np.array([0.9, 0.7, 0.1])
    assert best_threshold(probability, np.array([np.nan, 1.0, 0.0])) == pytest.approx(0.4)
    assert best_threshold(probability, np.array([np.nan, 0.0, 0.0])) == 0.5
    for order in itertools.permutations(range(3)):
        at = list(order)
        assert best_threshold(probability[at], np.array([np.nan, 1.0, 0.0])[at]) == pytest.approx(0.4)
