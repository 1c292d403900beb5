"""Turns that are made on demand, against an order of training that is dealt all at once."""

from __future__ import annotations

import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest

from jenga.rows.memory import by_reader, drawn, kept_rows
from jenga.rows.sampling import BUCKET_TURNS, Sampler, Turn
from jenga.rows.stages import Replay, Stage, StagedSampler

KINDS: Any = ("round_robin", "proportional", "temperature", "together")


class AtOnce:
    """Deals as `Sampler` does, in lists of all turns: the plain words of what it promises.

    A run that goes on after an update finds its place in the order that it began with, so this must never change.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.lengths, self.kind, self.rows_per_turn = sampler.lengths, sampler.kind, sampler.rows_per_turn
        self.turns, self.seed, self.halves = sampler.turns, sampler.seed, sampler.halves
        self.passes: dict[tuple[str, int], list[list[int]]] = {}

    def epoch(self, epoch: int) -> list[Turn]:
        queues = {
            name: [self.turn(name, epoch * turns + i) for i in range(turns)] for name, turns in self.turns.items()
        }
        if self.kind == "together":
            steps = zip(*queues.values(), strict=True)
            return [first._replace(beside=tuple(others)) for first, *others in steps]
        if self.kind == "round_robin":
            spread = [
                ((2 * i + 1) / (2 * len(queue)), place, turn)
                for place, queue in enumerate(queues.values())
                for i, turn in enumerate(queue)
            ]
            return [turn for _, _, turn in sorted(spread, key=lambda each: each[:2])]
        order = [name for name, queue in queues.items() for _ in queue]
        self.rng("", epoch).shuffle(order)
        heads = {name: iter(queue) for name, queue in queues.items()}
        return [next(heads[name]) for name in order]

    def turn(self, source: str, number: int) -> Turn:
        which_pass, at = divmod(number, -(-len(self.lengths[source]) // self.rows_per_turn[source]))
        if (source, which_pass) not in self.passes:
            self.passes[source, which_pass] = self.deal(source, which_pass)
        return Turn(source, self.passes[source, which_pass][at])

    def deal(self, source: str, which_pass: int) -> list[list[int]]:
        rng, lengths, size = self.rng(source, which_pass), self.lengths[source], self.rows_per_turn[source]
        order = rng.permutation(len(lengths))
        group = size * (1 if self.halves else BUCKET_TURNS)
        turns: list[list[int]] = []
        for start in range(0, len(order), group):
            part = order[start : start + group]
            part = part[np.argsort(lengths[part], kind="stable")]
            turns += [each.tolist() for each in np.array_split(part, -(-len(part) // size))]
        return [turns[i] for i in rng.permutation(len(turns))]

    def rng(self, name: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), number])


def some_sampler(rng: np.random.Generator, kind: Any) -> Sampler:
    """Return a sampler of up to four sources, all of whose options are drawn."""
    names = "abcd"[: rng.integers(1, 5)]
    most = int(rng.choice([9, 70, 400]))
    lengths = {name: rng.integers(1, rng.choice([2, 4, 90]), rng.integers(1, most)) for name in names}
    return Sampler(
        lengths, kind=kind, rows_per_turn={name: int(rng.integers(1, 12)) for name in names},
        temperature=float(rng.choice([1.0, 2.0, 10.0])), seed=int(rng.integers(1000)), halves=bool(rng.integers(2)),
        passes={name: float(rng.choice([0.3, 1.0, 2.5])) for name in names},
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_turns_on_demand_are_those_of_a_deal_of_all_at_once(kind: Any) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(60):
        sampler = some_sampler(rng, kind)
        wanted = AtOnce(sampler)
        for epoch in rng.permutation(4).tolist():
            turns, all_turns = sampler.epoch(epoch), wanted.epoch(epoch)
            assert turns == all_turns
            at = int(rng.integers(len(turns)))
            assert (turns[at], list(turns[at:])) == (all_turns[at], all_turns[at:])
            assert all(type(row) is int for part in turns[at].parts for row in part.rows)
        sampler.deal(halves=not sampler.halves)
        assert sampler.epoch(1) == AtOnce(sampler).epoch(1)


def sizes(turns: list[Turn]) -> list[tuple[str, int]]:
    return [(turn.source, len(turn.rows)) for turn in turns]


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_one_of_each_size_of_the_turns_that_are_dealt(kind: Any) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(60):
        sampler, epochs = some_sampler(rng, kind), int(rng.integers(1, 4))
        dealt = [part for epoch in range(epochs) for turn in sampler.epoch(epoch) for part in turn.parts]
        found = sampler.one_of_each_size(epochs)
        assert all(turn in dealt for turn in found)
        assert sorted(sizes(found)) == sorted(set(sizes(dealt)))


def test_a_turn_of_an_epoch_does_not_change_with_a_deal_that_comes_after_it() -> None:
    sampler = Sampler({"a": np.arange(99)}, kind="round_robin", rows_per_turn=8, temperature=1.0, seed=0)
    turns = sampler.epoch(0)
    before = list(turns)
    sampler.deal(halves=True)
    assert turns == before
    assert sampler.epoch(0) != before


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_of_many_rows_takes_a_few_bytes_a_row(kind: Any) -> None:
    lengths = {name: np.random.default_rng(0).integers(1, 90, 200_000) for name in "ab"}
    tracemalloc.start()
    try:
        sampler = Sampler(lengths, kind=kind, rows_per_turn=64, temperature=2.0, seed=0)
        turns = sampler.epoch(0)
        assert sum(turn.size for turn in turns[1000:1100]) >= 6400
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Four bytes for its place in the permutation, and some for the turns; a list of numbers would be forty.
    assert peak < 8 * 400_000


class StagesAtOnce:
    """Deals as `StagedSampler` does, in lists of all turns."""

    def __init__(self, staged: StagedSampler) -> None:
        self.staged = staged

    def epoch(self, at: int, own: int, epoch: int) -> list[Turn]:
        """Return the turns of `epoch`, which is the stage's own one."""
        turns = [self.of_stage(turn, self.staged.stages[at]) for turn in AtOnce(self.staged.samplers[at]).epoch(own)]
        return [self.joined(turn, at, (epoch, number)) for number, turn in enumerate(turns)]

    def of_stage(self, turn: Turn, stage: Stage) -> Turn:
        beside = tuple(self.of_stage(each, stage) for each in turn.beside)
        return Turn(turn.source, stage.rows[turn.source][turn.rows].tolist(), beside, stage.tasks[turn.source])

    def joined(self, turn: Turn, at: int, step: tuple[int, int]) -> Turn:
        replay = self.staged.replay
        if replay is None:
            return turn
        kept = drawn(replay.memory[at], replay.rows_per_step or turn.size, seed=replay.seed, step=step)
        rows = by_reader(kept)
        parts = []
        for part in turn.parts:
            own = [*part.rows, *rows.pop((part.source, part.tasks), [])]
            parts.append(Turn(part.source, self.by_length(part.source, own), (), part.tasks))
        parts += [Turn(source, self.by_length(source, each), (), tasks) for (source, tasks), each in rows.items()]
        return parts[0]._replace(beside=tuple(parts[1:]))

    def by_length(self, source: str, rows: list[int]) -> list[int]:
        return sorted(rows, key=lambda row: self.staged.lengths[source][row]) if self.staged.halves else rows


def some_stages(rng: np.random.Generator, kind: Any, *, replay: bool) -> StagedSampler:
    """Return a sampler of three stages, all of whose options are drawn."""
    plain = some_sampler(rng, kind)
    stages = []
    for name in ("one", "two", "three"):
        rows = {source: np.flatnonzero(rng.random(len(each)) < 0.6) for source, each in plain.lengths.items()}
        rows = {source: each for source, each in rows.items() if len(each)} or {"a": np.arange(1)}
        tasks = {source: ("x", "y")[: rng.integers(1, 3)] for source in rows}
        stages.append(Stage(name, int(rng.integers(1, 3)), tasks, rows, {}))
    samplers = [
        Sampler(
            {name: plain.lengths[name][rows] for name, rows in each.rows.items()},
            kind=kind, rows_per_turn=plain.rows_per_turn, temperature=2.0, seed=plain.seed, halves=plain.halves,
        )
        for each in stages
    ]  # fmt: skip
    memory = kept_rows([each.kept for each in stages], 12, keep="reservoir", seed=1)
    count = int(rng.integers(1, 9)) if rng.integers(2) else None
    return StagedSampler(stages, samplers, plain.lengths, replay=Replay(memory, count, 1) if replay else None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("replay", [False, True])
def test_turns_of_stages_on_demand_are_those_of_a_deal_of_all_at_once(kind: Any, replay: bool) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(30):
        staged = some_stages(rng, kind, replay=replay)
        wanted, dealt = StagesAtOnce(staged), list[Turn]()
        epochs = [(at, own) for at, stage in enumerate(staged.stages) for own in range(stage.epochs)]
        for epoch, (at, own) in enumerate(epochs):
            all_turns = wanted.epoch(at, own, epoch)
            assert staged.epoch(epoch) == all_turns
            assert staged.epoch(epoch)[1:] == all_turns[1:]
            dealt += [part for turn in all_turns for part in turn.parts]
            found = staged.one_of_each_size(epoch + 1)
            assert (found is None) == replay
            assert found is None or set(sizes(found)) == set(sizes(dealt))
