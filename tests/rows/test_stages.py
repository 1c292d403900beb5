"""Training in stages: whose turn it is, and which rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from jenga.rows.memory import kept_rows
from jenga.rows.sampling import Sampler, Turn
from jenga.rows.stages import Replay, Stage, StagedSampler

LENGTHS = {"a": np.random.default_rng(0).integers(2, 90, 60), "b": np.random.default_rng(1).integers(2, 90, 20)}


def stage(name: str, epochs: int, rows: dict[str, Any], tasks: dict[str, tuple[str, ...]] | None = None) -> Stage:
    found = {source: np.array(each) for source, each in rows.items()}
    return Stage(name, epochs, tasks or dict.fromkeys(rows, ("t",)), found, {})


STAGES = [
    stage("one", 2, {"a": range(0, 60, 2)}),
    stage("two", 1, {"a": range(1, 60, 2), "b": range(10)}),
    stage("three", 3, {"b": range(10, 20)}, {"b": ("u",)}),
]


def sampler(stages: list[Stage] = STAGES, *, halves: bool = False, replay: Replay | None = None) -> StagedSampler:
    samplers = [
        Sampler(
            {name: LENGTHS[name][rows] for name, rows in each.rows.items()},
            kind="round_robin", rows_per_turn=8, temperature=2.0, seed=0, halves=halves,
        )
        for each in stages
    ]  # fmt: skip
    return StagedSampler(stages, samplers, LENGTHS, replay=replay)


def replay(size: int, rows_per_step: int | None = None) -> Replay:
    return Replay(kept_rows([each.kept for each in STAGES], size, keep="reservoir", seed=0), rows_per_step, 0)


def rows_of(turns: list[Turn]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for turn in turns:
        for part in turn.parts:
            found.setdefault(part.source, []).extend(part.rows)
    return {source: sorted(rows) for source, rows in found.items()}


def test_each_epoch_has_the_rows_of_its_stage_once_and_no_others() -> None:
    dealt = sampler()
    assert [dealt.stage_of(epoch) for epoch in range(6)] == [0, 0, 1, 2, 2, 2]
    for epoch in range(6):
        turns = dealt.epoch(epoch)
        own = STAGES[dealt.stage_of(epoch)]
        assert len(turns) == dealt.turns_in(epoch)
        assert rows_of(turns) == {source: rows.tolist() for source, rows in own.rows.items()}
        assert {turn.tasks for turn in turns} == {own.tasks[turn.source] for turn in turns}


def test_one_stage_of_all_rows_deals_as_a_training_without_stages_does() -> None:
    plain = Sampler(LENGTHS, kind="round_robin", rows_per_turn=8, temperature=2.0, seed=0)
    staged = sampler([stage("all", 3, {name: range(len(each)) for name, each in LENGTHS.items()})])
    for epoch in range(3):
        assert [turn._replace(tasks=()) for turn in staged.epoch(epoch)] == plain.epoch(epoch)


def test_any_epoch_can_be_asked_for_in_any_order_and_behind_the_last_one() -> None:
    one, other = sampler(replay=replay(12)), sampler(replay=replay(12))
    assert [one.epoch(epoch) for epoch in (5, 0, 3, 2)] == [other.epoch(epoch) for epoch in (0, 2, 3, 5)][-1:] + [
        other.epoch(epoch) for epoch in (0, 3, 2)
    ]
    assert rows_of(one.epoch(6)) == rows_of(one.epoch(0))


def test_replay_adds_rows_of_earlier_stages_as_many_as_a_turn_has() -> None:
    plain, dealt = sampler(), sampler(replay=replay(20))
    assert dealt.epoch(1) == plain.epoch(1), "the first stage has none before it"
    for epoch in (2, 3):
        for with_memory, without in zip(dealt.epoch(epoch), plain.epoch(epoch), strict=True):
            added = Counter((part.source, row) for part in with_memory.parts for row in part.rows)
            added.subtract((part.source, row) for part in without.parts for row in part.rows)
            more = {key for key, count in (+added).items() if count}
            assert min(added.values()) == 0
            assert len(more) == without.size
            earlier = {(each.source, each.row) for before in STAGES[: dealt.stage_of(epoch)] for each in before.kept}
            assert more <= earlier


def test_rows_that_other_tasks_read_stand_beside_a_turn_and_the_rest_join_it() -> None:
    (turn, *_), (alone, *_) = sampler(replay=replay(200, 40)).epoch(3), sampler().epoch(3)
    assert turn.parts[0].rows == alone.rows
    assert turn.parts[0].tasks == ("u",)
    assert {(part.source, part.tasks) for part in turn.beside} == {("a", ("t",)), ("b", ("t",))}
    joined = sampler(replay=replay(200, 4)).epoch(2)
    assert {len(turn.parts) for turn in joined if turn.source == "a"} == {1}
    assert {len(turn.rows) for turn in joined if turn.source == "a"} == {4 + 7, 4 + 8}


def test_a_joined_turn_of_halves_is_sorted_by_length() -> None:
    turns = [part for turn in sampler(halves=True, replay=replay(30)).epoch(2) for part in turn.parts]
    assert turns
    assert all((np.diff(LENGTHS[part.source][part.rows]) >= 0).all() for part in turns)


def test_a_run_that_goes_on_deals_as_it_began() -> None:
    began, now = sampler(halves=True), sampler(halves=False)
    assert now.epoch(0) != began.epoch(0)
    now.deal(halves=True)
    assert now.halves
    assert [now.epoch(epoch) for epoch in range(6)] == [began.epoch(epoch) for epoch in range(6)]
