"""Turns and batches by the tokens of their rows."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest

from jenga.rows.budget import ATTENDED, SHARING, Budgeted, batches_within, even_stops, longest_within, stops_within
from jenga.rows.sampling import Sampler

KINDS = ("round_robin", "proportional", "temperature", "together")


def rng_of(number: int, seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, number])


def some_lengths(rng: np.random.Generator) -> np.ndarray:
    """Of one to 300 rows, of which some may be longer than any budget here."""
    return rng.integers(1, rng.choice([2, 9, 90]), int(rng.integers(1, 300)))


def least_parts(lengths: np.ndarray, tokens: int) -> int:
    """Return how many parts there must be, by all ways to cut: the plain words of what `stops_within` promises."""
    best = [0]
    for stop in range(1, len(lengths) + 1):
        fitting = [start for start in range(stop) if stop - start == 1 or lengths[start:stop].sum() <= tokens]
        best.append(1 + min(best[start] for start in fitting))
    return best[-1]


def parts_of(lengths: np.ndarray, stops: np.ndarray) -> list[np.ndarray]:
    return np.split(lengths, stops[:-1])


def test_the_fewest_parts_hold_the_budget_and_a_longer_row_is_one_by_itself() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        lengths, tokens = some_lengths(rng)[:60], int(rng.integers(1, 100))
        for cut in (stops_within, even_stops):
            stops = cut(lengths, tokens)
            assert stops[-1] == len(lengths)
            assert all(len(part) == 1 or part.sum() <= tokens for part in parts_of(lengths, stops))
            assert len(stops) == least_parts(lengths, tokens)


def test_the_last_parts_are_as_even_as_they_can_be() -> None:
    assert [part.sum() for part in parts_of(np.full(9, 2), even_stops(np.full(9, 2), 8))] == [6, 6, 6], "8, 8, 2 else"
    rng = np.random.default_rng(0)
    for _ in range(50):
        lengths, tokens = some_lengths(rng), int(rng.integers(1, 300))
        stops = even_stops(lengths, tokens)
        last = lengths[stops[-SHARING - 1] if len(stops) > SHARING else 0 :]
        most = max(int(part.sum()) for part in parts_of(lengths, stops)[-SHARING:])
        if last.max() <= tokens and most > last.max():
            assert len(stops_within(last, most - 1)) > min(SHARING, len(stops)), "a smaller number takes more parts"
        assert stops[:-SHARING].tolist() == stops_within(lengths, tokens)[:-SHARING].tolist()


def test_every_row_is_shown_once_a_pass_and_passes_differ_in_rows_and_in_turns() -> None:
    lengths = np.random.default_rng(0).integers(2, 60, 400)
    turns = Budgeted(lengths, 200, rng=rng_of)
    counts = set()
    for which in range(5):
        first, behind = turns.first(Fraction(which)), turns.first(Fraction(which + 1))
        dealt = [turns.rows(number) for number in range(first, behind)]
        assert Counter(row for rows in dealt for row in rows) == dict.fromkeys(range(400), 1)
        assert all(lengths[rows].sum() <= 200 for rows in dealt)
        assert all(type(row) is int for rows in dealt for row in rows)
        assert min(lengths[rows].sum() for rows in dealt) > 100, "no turn of what is left over"
        assert all((np.diff(lengths[rows]) >= 0).all() for rows in dealt)
        counts.add(behind - first)
    assert len(counts) > 1
    assert turns.rows(0) != turns.rows(turns.first(Fraction(1)))


def test_turns_follow_from_the_seed_in_whatever_order_they_are_asked_for() -> None:
    lengths = np.random.default_rng(0).integers(2, 60, 200)
    forward, backward, other = (Budgeted(lengths, 100, rng=partial(rng_of, seed=seed)) for seed in (0, 0, 1))
    found = [forward.rows(number) for number in range(150)]
    assert [backward.rows(number) for number in range(149, -1, -1)] == found[::-1]
    assert [other.rows(number) for number in range(150)] != found


def test_a_part_of_a_pass_ends_within_it() -> None:
    turns = Budgeted(np.full(40, 5), 10, rng=rng_of)
    assert [turns.first(Fraction(*each)) for each in ((0, 1), (1, 2), (1, 1), (9, 4))] == [0, 10, 20, 45]


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_has_the_turns_that_were_planned_in_any_order_of_asking(kind: Any) -> None:
    rng = np.random.default_rng(0)
    lengths = {"a": rng.integers(2, 60, 300), "b": rng.integers(2, 60, 170), "c": rng.integers(1, 9, 50)}

    def made() -> Sampler:
        return Sampler(
            lengths, kind=kind, rows_per_turn={"c": 8}, tokens_per_turn={"a": 150, "b": 120}, temperature=2.0, seed=3,
        )  # fmt: skip

    sampler, later = made(), made()
    epochs = [list(sampler.epoch(epoch)) for epoch in range(4)]
    assert list(later.epoch(3)) == epochs[3]
    assert [len(each) for each in epochs] == [sampler.turns_in(epoch) for epoch in range(4)]
    for turns in epochs:
        parts = [part for turn in turns for part in turn.parts]
        for part in parts:
            cost = lengths[part.source][part.rows].sum()
            assert cost <= {"a": 150, "b": 120}.get(part.source, 72)
        if kind in ("round_robin", "proportional"):
            seen = Counter((part.source, row) for part in parts for row in part.rows)
            assert seen == dict.fromkeys(((name, row) for name, each in lengths.items() for row in range(len(each))), 1)
    if kind == "together":
        assert all([part.source for part in turn.parts] == ["a", "b", "c"] for turn in epochs[0])
        longest = Counter(row for turns in epochs for turn in turns for row in turn.rows)
        assert longest == dict.fromkeys(range(300), 4), "an epoch is one pass over the source with the most turns"
    assert sampler.one_of_each_size(1) is None


def test_a_source_with_more_passes_an_epoch_has_whole_ones() -> None:
    lengths = {"a": np.random.default_rng(0).integers(2, 60, 100), "b": np.full(10, 3)}
    sampler = Sampler(
        lengths, kind="proportional", rows_per_turn={"b": 5}, tokens_per_turn={"a": 100}, temperature=1.0, seed=0,
        passes={"a": 7 / 3},
    )  # fmt: skip
    seen = Counter(
        row for epoch in range(3) for turn in sampler.epoch(epoch) for row in turn.rows if turn.source == "a"
    )
    assert seen == dict.fromkeys(range(100), 7)


def test_another_deal_of_the_other_rows_changes_no_turn_by_tokens() -> None:
    """A run may go on where its padding costs otherwise."""
    lengths = {"a": np.arange(1, 90)}
    sampler = Sampler(
        lengths, kind="round_robin", rows_per_turn={}, tokens_per_turn={"a": 100}, temperature=1.0, seed=0
    )
    before = list(sampler.epoch(1))
    sampler.deal(halves=True)
    assert list(sampler.epoch(1)) == before


@pytest.mark.parametrize("padded", [False, True])
def test_batches_of_a_turn_hold_the_budget_with_what_is_computed(padded: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        lengths, tokens = some_lengths(rng), int(rng.integers(1, 300))
        rows = rng.permutation(len(lengths))[: int(rng.integers(1, 40))].tolist()
        batches = batches_within(rows, lengths, tokens, padded=padded)
        assert sorted(row for batch in batches for row in batch) == sorted(rows)
        for batch in batches:
            places = lengths[batch].max() * len(batch)
            assert len(batch) == 1 or lengths[batch].sum() <= tokens
            assert len(batch) == 1 or places <= (tokens if padded else ATTENDED * tokens)
    assert batches_within([], lengths, 9, padded=padded) == []


def test_rows_that_fit_are_one_batch_in_their_order() -> None:
    lengths = np.array([2, 9, 3])
    assert batches_within([2, 0, 1], lengths, 14, padded=False) == [[2, 0, 1]]
    assert batches_within([2, 0, 1], lengths, 14, padded=True) == [[1], [2, 0]], "27 places"
    assert batches_within([2, 0, 1], lengths, 27, padded=True) == [[2, 0, 1]]


def test_a_long_row_is_apart_from_many_short_ones_also_where_attention_alone_pads_them() -> None:
    lengths = np.array([2, 2, 40, *[2] * 9])
    batches = batches_within(list(range(12)), lengths, 62, padded=False)
    assert [len(batch) for batch in batches] == [3, 9]
    assert batches[0][0] == 2


def test_the_longest_rows_come_first_and_fewer_at_once() -> None:
    lengths = np.array([3, 9, 1, 40, 3, 8, 2])
    assert longest_within(lengths, 20) == [[3], [1, 5], [4, 0, 6, 2]]
    assert longest_within(np.empty(0, np.int64), 20) == []
