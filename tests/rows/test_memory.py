"""Rows of earlier stages that are kept."""

from __future__ import annotations

import zlib
from collections import Counter

import numpy as np
import pytest

from jenga.rows.memory import Keep, Kept, by_reader, drawn, kept_rows

STAGES = [[Kept(f"s{stage}", ("t",), row) for row in range(40)] for stage in range(4)]


@pytest.mark.parametrize("keep", ["reservoir", "balanced"])
def test_a_memory_has_rows_of_earlier_stages_alone_and_never_gets_back_what_it_lost(keep: Keep) -> None:
    found = kept_rows(STAGES, 30, keep=keep, seed=3)
    assert found == kept_rows(STAGES, 30, keep=keep, seed=3)
    assert found[0] == []
    assert [len(each) for each in found[1:]] == [30, 30, 30]
    for stage, memory in enumerate(found):
        assert {each.source for each in memory} == {f"s{before}" for before in range(stage)}
        assert len(set(memory)) == len(memory)
        lost = set(STAGES[stage - 1]) | set(found[stage - 1])
        assert stage == 0 or set(memory) <= lost


def by_row(stages: list[list[Kept]], size: int, keep: Keep, seed: int) -> list[list[Kept]]:
    """Keep rows as `kept_rows` does, one by one: runs that go on after an update must find the memory that they had."""
    streams = [
        [rows[at] for at in np.random.default_rng([seed, zlib.crc32(b"memory"), stage]).permutation(len(rows))]
        for stage, rows in enumerate(stages)
    ]
    if keep == "balanced":
        shares = [[size // done + (at < size % done) for at in range(done)] for done in range(1, len(stages))]
        return [[], *([row for rows, n in zip(streams, own, strict=False) for row in rows[:n]] for own in shares)]
    rng, memory, found, seen = np.random.default_rng([seed, zlib.crc32(b"reservoir")]), list[Kept](), [], 0
    for stream in streams:
        found.append(list(memory))
        for row in stream:
            seen += 1
            if len(memory) < size:
                memory.append(row)
            elif (place := int(rng.integers(seen))) < size:
                memory[place] = row
    return found


@pytest.mark.parametrize("keep", ["reservoir", "balanced"])
@pytest.mark.parametrize("at_once", [1, 7, 1 << 16])
def test_a_memory_is_the_one_that_is_kept_row_by_row(monkeypatch: pytest.MonkeyPatch, keep: Keep, at_once: int) -> None:
    monkeypatch.setattr("jenga.rows.memory._DRAWN_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    for seed in range(30):
        counts = rng.integers(0, rng.choice([4, 300]), rng.integers(1, 5)).tolist()
        stages = [[Kept(f"s{at}", ("t",), row) for row in range(count)] for at, count in enumerate(counts)]
        size = int(rng.choice([1, 5, 40, 1000]))
        assert kept_rows(stages, size, keep=keep, seed=seed) == by_row(stages, size, keep, seed)


def test_balanced_has_as_many_of_each_stage() -> None:
    counts = [Counter(each.source for each in memory) for memory in kept_rows(STAGES, 20, keep="balanced", seed=0)]
    assert counts[1:] == [{"s0": 20}, {"s0": 10, "s1": 10}, {"s0": 7, "s1": 7, "s2": 6}]


def test_a_reservoir_keeps_each_row_with_the_same_chance() -> None:
    counts = Counter(
        each.source for seed in range(300) for each in kept_rows(STAGES, 12, keep="reservoir", seed=seed)[3]
    )
    # 1,200 of 3,600 rows are expected of each; the deviation of such a count is below 29.
    assert all(abs(count - 1200) < 4 * 29 for count in counts.values()), counts
    assert len(counts) == 3


def test_a_memory_with_room_keeps_all_rows() -> None:
    assert set(kept_rows(STAGES, 500, keep="reservoir", seed=0)[2]) == {*STAGES[0], *STAGES[1]}


def test_what_a_step_gets_follows_from_its_numbers() -> None:
    first = drawn(STAGES[0], 8, seed=1, step=(2, 5))
    assert first == drawn(STAGES[0], 8, seed=1, step=(2, 5))
    assert len(set(first)) == 8
    others = [drawn(STAGES[0], 8, seed=1, step=(2, 6)), drawn(STAGES[0], 8, seed=2, step=(2, 5))]
    assert first not in others
    assert sorted(drawn(STAGES[0], 99, seed=1, step=(2,))) == STAGES[0]
    assert drawn([], 8, seed=1, step=(2,)) == []


def test_rows_are_told_apart_by_who_reads_them() -> None:
    rows = [Kept("a", ("t",), 1), Kept("b", ("t",), 2), Kept("a", ("t", "u"), 3), Kept("a", ("t",), 4)]
    assert by_reader(rows) == {("a", ("t",)): [1, 4], ("b", ("t",)): [2], ("a", ("t", "u")): [3]}
