"""Turns that a run has left out, at a callback's request; run.json knows them, so that a resumed run does too."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypedDict

from jenga.callbacks.chain import Asked
from jenga.errors import DivergedError
from jenga.rows.order import OnDemand
from jenga.rows.sampling import Sampler, Turn
from jenga.rows.stages import StagedSampler
from jenga.trainer.run import RunFolder

logger = logging.getLogger(__name__)

MOST_ROLLBACKS = 3
"""Times that a run goes back to one checkpoint. Turns that lead nowhere one after another are not what is wrong."""

_KEY = "left_out"


class Place(NamedTuple):
    """A turn by its epoch and its number in it, both from 0 and as the sampler deals them."""

    epoch: int
    number: int


class LeftOutTurn(TypedDict):
    """A turn in run.json: its place, its source, who asked, the step it was to be, and that of the checkpoint."""

    epoch: int
    turn: int
    source: str
    by: str
    step: int
    back_to: int


class LeftOut:
    """The turns that `run` never takes."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.turns: list[LeftOutTurn] = run.info().get(_KEY, [])

    def of(self, sampler: Sampler | StagedSampler, epoch: int) -> Sequence[tuple[Place, Turn]]:
        """Return the turns that are taken in `epoch`, with their places; each is made when it is asked for."""
        turns = sampler.epoch(epoch)
        there = range(len(turns))
        gone = sorted({each["turn"] for each in self.turns if each["epoch"] == epoch and each["turn"] in there})
        taken_before = [number - at for at, number in enumerate(gone)]

        def taken(at: int) -> tuple[Place, Turn]:
            number = at + bisect_right(taken_before, at)
            return Place(epoch, number), turns[number]

        return OnDemand(taken, range(len(turns) - len(gone)))

    def coming(self, sampler: Sampler | StagedSampler, epoch: int, at: int, steps: int) -> Iterator[tuple[int, Turn]]:
        """Yield the next `steps` turns that are taken, from the one at place `at` of `epoch` on, with their epochs."""
        while steps > 0:
            turns = self.of(sampler, epoch)[at : at + steps]
            yield from ((epoch, turn) for _, turn in turns)
            epoch, at, steps = epoch + 1, 0, steps - len(turns)

    def count_in(self, epoch: int) -> int:
        """Return how many turns of `epoch` are left out."""
        return sum(each["epoch"] == epoch for each in self.turns)

    def count(self, epochs: int) -> int:
        """Return how many turns of the first `epochs` epochs are left out."""
        return sum(each["epoch"] < epochs for each in self.turns)

    def by_rollback(
        self, sampler: Sampler | StagedSampler, asked: Asked, place: Place, *, step: int, back_to: int
    ) -> None:
        """Leave out the turn that a rollback to `back_to` is for: that of `step`, at `place`, where it names no other.

        Turns that were undone at this step are taken again by one to a chosen checkpoint: they may do no harm there.
        """
        chosen: tuple[int, int] | None = place
        if asked.back is not None:
            chosen = asked.back.place
            self.turns = [each for each in self.turns if (each["back_to"], each["step"]) != (step - 1, step)]
            self.run.update(**{_KEY: self.turns})
        if chosen is not None:
            source = sampler.epoch(chosen[0])[chosen[1]].name
            self.add(Place(*chosen), source=source, by=asked.by, step=step, back_to=back_to)

    def add(self, place: Place, *, source: str, by: str, step: int, back_to: int) -> None:
        """Leave out a turn from now on. Raises DivergedError where it is already, or that was tried often enough."""
        if any((each["epoch"], each["turn"]) == place for each in self.turns):
            raise DivergedError(
                f"step {step}: {by} asked to go back to step {back_to} without turn {place.number} of epoch "
                f"{place.epoch}, which is left out already: the run would come here again. Name another turn in "
                "GoBack, or none"
            )
        tries = [each for each in self.turns if each["back_to"] == back_to]
        if len(tries) >= MOST_ROLLBACKS:
            steps = ", ".join(str(each["step"]) for each in tries)
            raise DivergedError(
                f"step {step}: {by} asked to go back to step {back_to} once more (before: at step "
                f"{steps}), which is not tried; lower training.learning_rate, look at the rows, or save checkpoints "
                "more often. The last checkpoint is unharmed"
            )
        self.turns = [
            *self.turns,
            {"epoch": place.epoch, "turn": place.number, "source": source, "by": by, "step": step, "back_to": back_to},
        ]
        self.run.update(**{_KEY: self.turns})
        if self.run.written:
            logger.warning(
                "step %d: %s asked to go back; the run goes on from step %d without turn %d of epoch %d (source '%s')",
                step, by, back_to, place.number, place.epoch, source,
            )  # fmt: skip
