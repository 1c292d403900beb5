"""Turns that a run leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jenga.callbacks import Action
from jenga.callbacks.chain import Asked
from jenga.errors import DivergedError
from jenga.rows.order import OnDemand
from jenga.rows.sampling import Sampler, Turn
from jenga.trainer.left_out import MOST_ROLLBACKS, LeftOut, Place
from jenga.trainer.run import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> Any:
    run = RunFolder.create(tmp_path, "test", {})
    yield run
    run.release()


def sampler() -> Sampler:
    return Sampler({"a": np.arange(40)}, kind="round_robin", rows_per_turn=8, temperature=2.0, seed=0)


def leave_out(left_out: LeftOut, place: Place, *, back_to: int = 0) -> None:
    left_out.add(place, source="a", by="Guard", step=place.number + 1, back_to=back_to)


def test_the_other_turns_stay_as_they_are_and_keep_their_places(run: RunFolder) -> None:
    left_out, turns = LeftOut(run), sampler().epoch(1)
    leave_out(left_out, Place(1, 2))
    assert left_out.of(sampler(), 1) == [(Place(1, number), turns[number]) for number in (0, 1, 3, 4)]
    assert [turn for _, turn in left_out.of(sampler(), 0)] == sampler().epoch(0)
    assert (left_out.count_in(0), left_out.count_in(1)) == (0, 1)
    assert (left_out.count(1), left_out.count(2)) == (0, 1)


@pytest.mark.parametrize(("epoch", "at", "steps"), [(0, 0, 12), (0, 3, 4), (1, 0, 1), (0, 0, 0), (2, 0, 3)])
def test_the_turns_that_come_are_those_that_are_taken(run: RunFolder, epoch: int, at: int, steps: int) -> None:
    left_out = LeftOut(run)
    for place in (Place(0, 1), Place(1, 2), *(Place(2, number) for number in range(5))):
        leave_out(left_out, place, back_to=10 * place.epoch + place.number)
    taken = [(each, turn) for each in range(epoch, epoch + 6) for _, turn in left_out.of(sampler(), each)]
    assert list(left_out.coming(sampler(), epoch, at, steps)) == taken[at : at + steps]


def test_a_run_that_goes_on_in_the_middle_of_an_epoch_makes_no_turn_of_those_before(run: RunFolder) -> None:
    made: list[int] = []

    class Counted(Sampler):
        def epoch(self, epoch: int) -> Any:
            turns = super().epoch(epoch)

            def turn(number: int) -> Turn:
                made.append(number)
                return turns[number]

            return OnDemand(turn, range(len(turns)))

    counted = Counted({"a": np.arange(40)}, kind="round_robin", rows_per_turn=2, temperature=2.0, seed=0)
    left_out = LeftOut(run)
    leave_out(left_out, Place(0, 3))
    leave_out(left_out, Place(0, 16))
    assert [place.number for place, _ in left_out.of(counted, 0)[14:16]] == [15, 17]
    assert len(list(left_out.coming(counted, 0, 14, 3))) == 3
    left_out.by_rollback(counted, Asked(Action.ROLLBACK, "Guard"), Place(0, 9), step=9, back_to=4)
    assert made == [15, 17, 15, 17, 18, 9]


def test_run_json_knows_them_for_a_run_that_is_resumed(run: RunFolder) -> None:
    leave_out(LeftOut(run), Place(0, 3), back_to=2)
    assert run.info()["left_out"] == [{"epoch": 0, "turn": 3, "source": "a", "by": "Guard", "step": 4, "back_to": 2}]
    assert LeftOut(RunFolder(run.path)).count_in(0) == 1


def test_going_back_to_one_checkpoint_is_tried_a_few_times_only(run: RunFolder) -> None:
    left_out = LeftOut(run)
    for number in range(MOST_ROLLBACKS):
        leave_out(left_out, Place(0, number))
    with pytest.raises(
        DivergedError, match=r"step 5: Guard asked to go back to step 0 once more \(before: at step 1, 2, 3"
    ):
        leave_out(left_out, Place(0, 4))
    assert left_out.count_in(0) == MOST_ROLLBACKS
    leave_out(left_out, Place(1, 0), back_to=5)


def test_a_turn_is_left_out_once(run: RunFolder) -> None:
    """Noted twice it would count as two of the epoch's turns."""
    left_out = LeftOut(run)
    leave_out(left_out, Place(0, 3), back_to=2)
    with pytest.raises(DivergedError, match=r"back to step 0 without turn 3 of epoch 0, which is left out already"):
        leave_out(left_out, Place(0, 3))
    assert left_out.count_in(0) == 1
