"""Events by segments and by onsets."""

from __future__ import annotations

import itertools

import numpy as np
import seeds

from jenga.labels.event_scores import COLLAR_S, f1, onset_counts, segment_counts


def events(*rows: tuple[float, float, int]) -> np.ndarray:
    return np.array(rows, np.float64).reshape(-1, 3)


def test_a_segment_counts_once_for_each_class_that_has_a_part_of_it() -> None:
    wanted = events((0.2, 2.5, 0), (2.6, 2.8, 0), (1.0, 2.0, 1))
    found = events((0.0, 1.0, 0), (1.5, 3.1, 1))
    hits, alarms, misses = segment_counts([(wanted, found)])
    assert (dict(hits), dict(alarms), dict(misses)) == ({0: 1, 1: 1}, {1: 2}, {0: 2})
    assert f1((hits, alarms, misses)) == 2 * 2 / (2 * 2 + 2 + 2)


def test_an_end_that_is_a_product_of_frames_opens_no_segment() -> None:
    hits, alarms, misses = segment_counts([(events((0, 7, 0)), events((0, 0.07 * 100, 0)))])
    assert 0.07 * 100 > 7
    assert (hits.total(), alarms.total(), misses.total()) == (7, 0, 0)


def test_an_onset_has_one_partner_within_the_collar() -> None:
    wanted = events((1.0, 2.0, 0), (1.1, 2.0, 0), (5.0, 6.0, 1))
    found = events((0.8, 9.0, 0), (5.0, 6.0, 0), (5.21, 6.0, 1))
    hits, alarms, misses = onset_counts([(wanted, found)])
    assert (hits[0], alarms[0], misses[0]) == (1, 1, 1)
    assert (hits[1], alarms[1], misses[1]) == (0, 1, 1)


def test_onsets_are_paired_as_often_as_they_can_be() -> None:
    draw = np.random.default_rng(seeds.derived("onsets"))
    for _ in range(40):
        gold, heard = (np.sort(draw.uniform(0, 1.5, 4)) for _ in range(2))
        near = np.abs(gold[:, None] - heard[None]) <= COLLAR_S
        best = max(sum(near[row, at] for row, at in enumerate(order)) for order in itertools.permutations(range(4)))
        sides = [events(*((float(start), float(start) + 1, 0) for start in side)) for side in (gold, heard)]
        assert onset_counts([(sides[0], sides[1])])[0][0] == best


def test_nothing_wanted_and_nothing_found_has_no_score() -> None:
    assert f1(segment_counts([(events(), events())])) is None
