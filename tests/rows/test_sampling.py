"""Whose turn it is, and which rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from jenga.rows.sampling import Sampler, Turn, micro_batches

KINDS = ("round_robin", "proportional", "temperature")


def lengths(**rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(2, 100, count) for name, count in rows.items()}


def sampler_of(rows: dict[str, int], kind: Any = "round_robin", **options: Any) -> Sampler:
    return Sampler(lengths(**rows), kind=kind, **{"rows_per_turn": 8, "temperature": 2.0, "seed": 0, **options})


def seen(turns: list[Turn]) -> dict[str, Counter[int]]:
    found: dict[str, Counter[int]] = {}
    for turn in turns:
        found.setdefault(turn.source, Counter()).update(turn.rows)
    return found


@pytest.mark.parametrize("rows", [{"a": 100, "b": 17, "c": 1}, {"a": 8}, {"a": 7, "b": 9}, {"a": 1000}])
@pytest.mark.parametrize("kind", ["round_robin", "proportional"])
def test_every_row_is_shown_exactly_once_an_epoch(rows: dict[str, int], kind: str) -> None:
    sampler = sampler_of(rows, kind)
    for epoch in range(3):
        turns = sampler.epoch(epoch)
        assert len(turns) == sampler.turns_in(epoch)
        assert seen(turns) == {name: Counter(range(count)) for name, count in rows.items()}
        assert all(0 < len(turn.rows) <= 8 for turn in turns)


def test_round_robin_takes_turns_that_end_together() -> None:
    order = [turn.source for turn in sampler_of({"a": 32, "b": 16, "c": 8}).epoch(0)]
    assert order == ["a", "b", "a", "c", "a", "b", "a"]
    assert [turn.source for turn in sampler_of({"a": 16, "b": 16, "c": 16}).epoch(0)] == ["a", "b", "c"] * 2


def test_sources_may_have_turns_of_other_sizes_and_more_passes_than_one() -> None:
    sampler = sampler_of({"a": 32, "b": 20}, rows_per_turn={"a": 8, "b": 5}, passes={"b": 2.5})
    for epoch in range(4):
        turns = sampler.epoch(epoch)
        assert Counter(turn.source for turn in turns) == {"a": 4, "b": 10}
        assert {(turn.source, len(turn.rows)) for turn in turns} == {("a", 8), ("b", 5)}
    counts = sum((seen(sampler.epoch(epoch))["b"] for epoch in range(2)), Counter())
    assert counts == dict.fromkeys(range(20), 5), "a pass goes on in the next epoch"


def test_together_each_turn_has_rows_of_every_source_and_the_smaller_ones_begin_again() -> None:
    sampler = sampler_of({"a": 32, "b": 20, "c": 3}, "together", rows_per_turn={"a": 8, "b": 10, "c": 2})
    assert sampler.turns_in(0) == 4
    turns = [turn for epoch in range(4) for turn in sampler.epoch(epoch)]
    assert len(turns) == 16
    assert all([part.source for part in turn.parts] == ["a", "b", "c"] for turn in turns)
    assert {tuple(len(part.rows) for part in turn.parts) for turn in turns} == {(8, 10, 2), (8, 10, 1)}
    assert turns[0].size == sum(len(part.rows) for part in turns[0].parts)
    assert turns[0].name == "a, b, c"
    counts = seen([part for turn in turns for part in turn.parts])
    assert counts == {
        "a": dict.fromkeys(range(32), 4),
        "b": dict.fromkeys(range(20), 8),
        "c": dict.fromkeys(range(3), 8),
    }
    # Epochs can be asked for in any order.
    assert sampler_of({"a": 32, "b": 20, "c": 3}, "together", rows_per_turn={"a": 8, "b": 10, "c": 2}).epoch(2) == (
        sampler.epoch(2)
    )


def test_a_source_of_less_than_half_a_pass_has_a_turn_still() -> None:
    assert len(sampler_of({"a": 8, "b": 80}, passes={"a": 0.1}).epoch(0)) == 11


def test_proportional_has_the_same_turns_in_random_order() -> None:
    rows = {"a": 320, "b": 160}
    orders = [[turn.source for turn in sampler_of(rows, "proportional").epoch(epoch)] for epoch in (0, 1)]
    assert all(Counter(order) == {"a": 40, "b": 20} for order in orders)
    assert orders[0] != orders[1]
    assert orders[0] != [turn.source for turn in sampler_of(rows).epoch(0)]


@pytest.mark.parametrize(
    ("temperature", "shares"), [(1.0, {"a": 90, "b": 10}), (2.0, {"a": 75, "b": 25}), (1e6, {"a": 50, "b": 50})]
)
def test_temperature_shares_the_same_number_of_turns(temperature: float, shares: dict[str, int]) -> None:
    """90 and 10 turns: at 2 the shares are sqrt(90) : sqrt(10) = 3 : 1, at infinity equal."""
    sampler = sampler_of({"a": 720, "b": 80}, "temperature", temperature=temperature)
    for epoch in range(3):
        assert Counter(turn.source for turn in sampler.epoch(epoch)) == shares
    assert sampler.turns_in(0) == 100


def test_temperature_gives_every_source_a_turn() -> None:
    turns = sampler_of({"big": 8000, **{f"s{i}": 1 for i in range(9)}}, "temperature", temperature=1.0).epoch(0)
    assert set(seen(turns)) == {"big", *(f"s{i}" for i in range(9))}


def test_temperature_leaves_no_row_out_over_epochs() -> None:
    """A source with fewer turns than it needs goes on where it stopped; one with more begins again."""
    rows = {"big": 800, "small": 40}
    sampler = sampler_of(rows, "temperature", temperature=10.0)
    turns_of_big = Counter(turn.source for turn in sampler.epoch(0))["big"]
    epochs = -(-100 // turns_of_big)
    assert epochs > 1
    total: dict[str, Counter[int]] = {name: Counter() for name in rows}
    for epoch in range(epochs):
        for name, counts in seen(sampler.epoch(epoch)).items():
            total[name] += counts
    for name, count in rows.items():
        assert set(total[name]) == set(range(count))
        assert max(total[name].values()) - min(total[name].values()) <= 1, "no row is shown twice before all were once"


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_a_pure_function_of_seed_and_number(kind: str) -> None:
    rows = {"a": 100, "b": 17}
    forward = sampler_of(rows, kind)
    inorder = [forward.epoch(epoch) for epoch in range(4)]
    for epoch in (3, 0, 2, 1, 1):
        assert sampler_of(rows, kind).epoch(epoch) == inorder[epoch]
    backward = sampler_of(rows, kind)
    assert [backward.epoch(epoch) for epoch in (3, 1, 2, 0)] == [inorder[epoch] for epoch in (3, 1, 2, 0)]
    assert inorder[0] != inorder[1]
    assert sampler_of(rows, kind, seed=1).epoch(0) != inorder[0]


def test_a_source_is_dealt_alike_whatever_the_other_sources_are() -> None:
    alone = [turn.rows for turn in sampler_of({"a": 50}).epoch(0)]
    beside = [turn.rows for turn in sampler_of({"a": 50, "b": 9}).epoch(0) if turn.source == "a"]
    assert alone == beside


def test_rows_of_like_length_share_a_turn_but_not_the_same_rows_every_epoch() -> None:
    sampler = sampler_of({"a": 2000})
    all_lengths = lengths(a=2000)["a"]
    turns = sampler.epoch(0)
    spread = np.mean([np.ptp(all_lengths[turn.rows]) for turn in turns])
    assert spread < np.ptp(all_lengths) / 6, "eight rows drawn at random span three quarters of it"
    means = [all_lengths[turn.rows].mean() for turn in turns]
    assert means != sorted(means), "turns are not in order of length"
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.25
    first, second = ({frozenset(turn.rows) for turn in sampler.epoch(epoch)} for epoch in (0, 1))
    assert len(first & second) < len(first) / 10


@pytest.mark.parametrize(("rows", "per_turn"), [(2000, 8), (1000, 5), (33, 8), (9, 3), (3, 8), (1, 8)])
def test_halves_show_every_row_once_and_no_turn_is_too_long(rows: int, per_turn: int) -> None:
    sampler = sampler_of({"a": rows}, rows_per_turn=per_turn, halves=True)
    turns = sampler.epoch(0)
    assert len(turns) == sampler.turns_in(0)
    assert seen(turns) == {"a": Counter(range(rows))}
    assert max(len(turn.rows) for turn in turns) <= per_turn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("halves", [True, False])
def test_a_deal_that_is_changed_is_that_of_a_sampler_made_so(kind: str, halves: bool) -> None:
    rows = {"a": 100, "b": 17, "c": 1}
    sampler, wanted = (sampler_of(rows, kind, halves=each) for each in (not halves, halves))
    assert sampler.epoch(0) != wanted.epoch(0)
    assert sampler.turns_in(0) == wanted.turns_in(0)
    sampler.deal(halves=halves)
    assert [sampler.epoch(epoch) for epoch in (0, 1)] == [wanted.epoch(epoch) for epoch in (0, 1)]


def test_a_turn_in_halves_is_drawn_from_all_rows_and_its_halves_pad_less() -> None:
    sampler = sampler_of({"a": 2000}, rows_per_turn=32, halves=True)
    all_lengths = lengths(a=2000)["a"]
    whole = parted = 0
    for turn in sampler.epoch(0):
        batches = micro_batches(turn.rows, all_lengths, 32, halves=True)
        assert [row for batch in batches for row in batch] == turn.rows
        assert np.ptp(all_lengths[turn.rows]) > np.ptp(all_lengths) / 2
        whole += len(turn.rows) * int(all_lengths[turn.rows].max())
        parted += sum(len(batch) * int(all_lengths[batch].max()) for batch in batches)
    assert parted < 0.8 * whole, "of lengths drawn evenly, three quarters and a little"


def test_rows_of_one_length_are_not_parted() -> None:
    assert micro_batches([3, 1, 2], np.full(4, 7), 8, halves=True) == [[3, 1, 2]]
    assert micro_batches([3, 1, 2], np.array([1, 2, 9, 3]), 2, halves=False) == [[3, 1], [2]]
