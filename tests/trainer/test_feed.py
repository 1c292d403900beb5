"""Batches made ahead: those of the turns, the same whoever makes them, whatever happens in between."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jenga.callbacks import Action, BaseCallback
from jenga.processes import Processes
from jenga.rows.batches import Encoded, EncodedSplit
from jenga.rows.content import Cells
from jenga.rows.memory import kept_rows
from jenga.rows.order import OnDemand
from jenga.rows.parse import Rows
from jenga.rows.sampling import Sampler, Turn, micro_batches
from jenga.rows.stages import Replay, Stage, StagedSampler
from jenga.trainer.feed import Feed

TURNS = [(epoch, Turn("ab"[at % 2], [at, at + 1, at + 2])) for epoch in range(3) for at in range(6)]


class Noisy(Encoded):
    """Rows that training shows with noise, and that tell which process read them."""

    @property
    def lengths(self) -> np.ndarray:
        return np.ones(8, np.int64)

    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        return {"rows": torch.tensor(index), "pid": torch.full((len(index),), os.getpid())}

    def changed(self, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {**inputs, "noise": torch.rand(len(inputs["rows"]), generator=generator)}


def feed(*, workers: int = 0, seed: int = 0, size: int = 2, processes: Processes | None = None) -> Feed:
    rows = Rows([str(at) for at in range(8)], ["f"] * 8, list(range(8)), Cells({}))
    splits = {name: EncodedSplit(name, rows, Noisy(), {}) for name in "ab"}
    return Feed(
        splits, sizes=dict.fromkeys(splits, size), halves=False, seed=seed, workers=workers, processes=processes
    )


def coming(start: int = 0) -> Callable[[], Iterator[tuple[int, Turn]]]:
    return lambda: iter(TURNS[start:])


def noise(of: Feed, at: int) -> list[list[float]]:
    return [batch.inputs["noise"].tolist() for batch in of.batches(*TURNS[at])]


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_the_same_whoever_makes_them(workers: int) -> None:
    alone = feed(workers=0)
    with feed(workers=workers) as ahead:
        ahead.begin(coming())
        for epoch, turn in TURNS:
            expected, found = alone.batches(epoch, turn), ahead.batches(epoch, turn)
            assert [batch.rows for batch in found] == [batch.rows for batch in expected]
            assert [batch.rows for batch in found] == [turn.rows[:2], turn.rows[2:]]
            for one, other in zip(found, expected, strict=True):
                assert (one.source, one.sample_ids) == (other.source, other.sample_ids)
                assert torch.equal(one.inputs["noise"], other.inputs["noise"])
                assert set(one.inputs["pid"].tolist()).isdisjoint({os.getpid()})


def test_what_is_drawn_follows_from_the_seed_the_source_the_epoch_and_the_rows_alone() -> None:
    one = feed(workers=0)
    assert noise(one, 0) == noise(feed(workers=0), 0) == noise(one, 0)
    others = [noise(one, at) for at in (1, 2, 6)] + [noise(feed(workers=0, seed=1), 0)]
    assert all(each != noise(one, 0) for each in others)
    (same_rows,) = ([*one.batches(0, Turn("b", [0, 1, 2]))],)
    assert same_rows[0].inputs["noise"].tolist() != noise(one, 0)[0]


def test_beginning_anew_drops_what_was_made_ahead() -> None:
    with feed(workers=2) as ahead:
        ahead.begin(coming())
        first = noise(ahead, 0)
        noise(ahead, 1)
        ahead.begin(coming(4))
        assert noise(ahead, 4) == noise(feed(workers=0), 4)
        ahead.begin(coming())
        assert noise(ahead, 0) == first


def test_another_turn_than_the_one_that_comes_is_a_bug_that_is_told() -> None:
    with feed(workers=1) as ahead:
        ahead.begin(coming())
        with pytest.raises(AssertionError, match="batches were made of"):
            ahead.batches(*TURNS[3])


def test_rows_that_are_left_out_are_in_no_batch() -> None:
    some = feed(workers=0)
    some.splits["a"].left_out = frozenset({0, 1, 4})
    together = Turn("a", [1, 2, 0], (Turn("b", [1]), Turn("a", [4])))
    assert some.kept(together) == Turn("a", [2], (Turn("b", [1]),))
    assert [(each.source, each.rows) for each in some.batches(0, together)] == [("a", [2]), ("b", [1])]
    nothing = some.kept(Turn("a", [0, 1], (Turn("a", [4]),)))
    assert (nothing, nothing.size, some.batches(0, nothing)) == (Turn("a", []), 0, [])
    plain = Turn("b", [0, 1])
    assert some.kept(plain) is plain


def test_what_was_made_ahead_is_made_anew_where_other_rows_are_left_out() -> None:
    with feed(workers=1) as ahead:
        ahead.begin(coming(1))
        ahead.splits["a"].left_out = frozenset({1})
        ahead.begin(coming())
        assert [batch.rows for batch in ahead.batches(*TURNS[0])] == [[0, 2]]
        ahead.splits["a"].left_out = frozenset({2})
        assert [batch.rows for batch in ahead.batches(*TURNS[0])] == [[0, 1]]
        assert [batch.rows for batch in ahead.batches(*TURNS[1])] == [[1, 2], [3]]


@pytest.mark.parametrize("event", ["on_train_begin", "on_step_end", "on_epoch_end"])
def test_rows_may_be_left_out_at_any_time_with_batches_made_ahead(make_trainer: Callable[..., Any], event: str) -> None:
    found = []
    for workers in (0, 2):

        class Leave(BaseCallback):
            def __init__(self) -> None:
                self.rows: list[int] = []

            def on_batch_begin(self, trainer: Any, batch: Any, **_: Any) -> None:
                self.rows += batch.rows

        def leave(trainer: Any, **_: Any) -> None:
            trainer.sources["mood"].splits["train"].left_out = frozenset({0, 3, 5})

        callback = Leave()
        setattr(callback, event, leave)
        trainer = make_trainer(
            "mood", callbacks=[callback], data={"max_length": 32, "workers": workers}, training={"epochs": 3},
        )  # fmt: skip
        trainer.train()
        found.append((callback.rows, trainer.model.tasks["mood"].heads.weight.tolist()))
    assert found[0] == found[1]
    rows = found[0][0]
    assert {0, 3, 5}.isdisjoint(rows[-29:])
    assert len(set(rows[-29:])) == 29


class Ask(BaseCallback):
    """Asks for something once, at a step."""

    def __init__(self, step: int, action: Action) -> None:
        self.step, self.action = step, action
        self.undoes = action is Action.UNDO

    def on_before_optimizer_step(self, trainer: Any, grad_norm: Any, **kwargs: Any) -> Action | None:
        if trainer.state.step == 0 and not list(trainer.run.checkpoints.glob("step-*")):
            trainer.save()
        if trainer.state.step == self.step and not trainer.left_out.turns:
            return self.action
        return None


@pytest.mark.parametrize("action", list(Action))
def test_a_run_that_goes_back_skips_or_stops_is_the_same_with_batches_made_ahead(
    make_trainer: Callable[..., Any], action: Action
) -> None:
    found = []
    for workers in (0, 2):
        trainer = make_trainer(
            "mood", callbacks=[Ask(5, action)], data={"max_length": 32, "workers": workers},
            checkpoint={"every_steps": 3}, training={"epochs": 3, "gradient_accumulation_steps": 1},
        )  # fmt: skip
        assert trainer.feed.workers == workers
        trainer.train()
        records = [json.loads(line) for line in trainer.log.path.read_text().splitlines()]
        found.append([{key: value for key, value in each.items() if key != "time_s"} for each in records])
    assert found[0] == found[1]
    assert len(found[0]) >= 5


@pytest.mark.parametrize("kind", ["round_robin", "proportional", "temperature", "together"])
@pytest.mark.parametrize("size", [2, 3])
def test_each_row_of_a_turn_is_of_one_process(kind: Any, size: int) -> None:
    lengths = {"a": np.ones(8, np.int64), "b": np.ones(5, np.int64)}
    sampler = Sampler(lengths, kind=kind, rows_per_turn={"a": 5, "b": 4}, temperature=2.0, seed=0)
    shares = [feed(processes=Processes(rank, size)) for rank in range(size)]
    for turn in sampler.epoch(0):
        found = [[(b.source, row) for b in each.batches(0, turn) for row in b.rows] for each in shares]
        assert sorted(row for of_one in found for row in of_one) == sorted(
            (part.source, row) for part in turn.parts for row in part.rows
        )
        assert len(found[0]) < turn.size or turn.size == 1


@pytest.mark.parametrize("padded", [False, True])
def test_steps_by_tokens_are_run_in_batches_of_their_tokens_which_processes_share(padded: bool) -> None:
    lengths = {"a": np.array([9, 2, 3, 30, 2, 4, 9, 2])}
    splits: Any = {"a": SimpleNamespace(lengths=lengths["a"], left_out=frozenset())}
    turn = Turn("a", [1, 4, 7, 2, 5, 0])

    def parts(processes: Processes) -> list[tuple[int, ...]]:
        made = Feed(
            splits, sizes={}, tokens={"a": 16}, padded=padded, halves=True, seed=0, workers=0, processes=processes
        )
        return [part.rows for part in made._parts(0, turn)]

    assert parts(Processes()) == ([(0,), (5, 2, 7, 4), (1,)] if padded else [(0, 5, 2), (7, 4, 1)])
    one, other = (parts(Processes(rank, 2)) for rank in range(2))
    assert (one, other) == (([(0,), (5, 7), (1,)], [(2, 4)]) if padded else ([(0, 2), (7, 1)], [(5,), (4,)]))


def walked(feed: Feed, sampler: Sampler | StagedSampler, epochs: int) -> int:
    """Return the rows of the smallest batch, by a walk through all turns."""
    turns = [part for epoch in range(epochs) for turn in sampler.epoch(epoch) for part in turn.parts]
    lengths = {name: split.lengths for name, split in feed.splits.items()}
    return min(
        len(rows)
        for part in turns
        for rows in micro_batches(part.rows, lengths[part.source], feed.sizes[part.source], halves=feed.halves)
    )


def sized(lengths: dict[str, np.ndarray], sizes: dict[str, int], *, halves: bool) -> Feed:
    splits: Any = {name: SimpleNamespace(lengths=each, left_out=frozenset()) for name, each in lengths.items()}
    return Feed(splits, sizes=sizes, halves=halves, seed=0, workers=0)


@pytest.mark.parametrize("kind", ["round_robin", "proportional", "temperature", "together"])
@pytest.mark.parametrize("halves", [False, True])
def test_the_smallest_batch_is_the_one_that_a_walk_through_all_turns_finds(kind: Any, halves: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        lengths = {name: rng.integers(1, rng.choice([2, 3, 90]), rng.integers(1, 150)) for name in "ab"}
        made = sized(lengths, {"a": int(rng.integers(1, 9)), "b": sys.maxsize}, halves=halves)
        sampler = Sampler(
            lengths, kind=kind, rows_per_turn={name: int(rng.integers(1, 12)) for name in "ab"}, temperature=10.0,
            seed=0, halves=bool(rng.integers(2)), passes={"a": 0.3},
        )  # fmt: skip
        stages = [Stage(name, 2, {name: ("t",)}, {name: np.arange(len(lengths[name]))}, {}) for name in "ab"]
        own = [
            Sampler({name: lengths[name]}, kind=kind, rows_per_turn=5, temperature=2.0, seed=0, halves=halves)
            for name in "ab"
        ]
        memory = kept_rows([stage.kept for stage in stages], 4, keep="balanced", seed=0)
        for each in (sampler, StagedSampler(stages, own, lengths),
                     StagedSampler(stages, own, lengths, replay=Replay(memory, 3, 0))):  # fmt: skip
            for epochs in (1, 3):
                assert made.fewest(each, epochs) == walked(made, each, epochs)


@pytest.mark.parametrize("halves", [False, True])
def test_the_smallest_batch_is_found_without_a_walk_through_millions_of_turns(halves: bool) -> None:
    lengths = {"a": np.arange(3_000_001) % 90}
    made = sized(lengths, {"a": 4}, halves=halves)
    sampler = Sampler(lengths, kind="round_robin", rows_per_turn=4, temperature=1.0, seed=0, halves=halves)
    asked = 0

    def counted(epoch: int) -> Any:
        nonlocal asked
        turns = Sampler.epoch(sampler, epoch)

        def turn(number: int) -> Turn:
            nonlocal asked
            asked += 1
            return turns[number]

        return OnDemand(turn, range(len(turns)))

    sampler.epoch = counted  # type: ignore[method-assign]
    assert made.fewest(sampler, 1000) == 1
    assert asked < 100
