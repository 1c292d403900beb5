"""Training in stages: whose turn it is, and which rows, one stage after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from jenga.rows.memory import Kept, by_reader, drawn
from jenga.rows.order import OnDemand
from jenga.rows.sampling import Sampler, Turn


@dataclass(frozen=True)
class Stage:
    """A part of a training. `rows`: by source, the numbers of its training rows, int64, ascending.

    `tasks`: by source, those that learn from them. `judged`: by source, the split that it is judged on, and the numbers
    of its rows there.
    """

    name: str
    epochs: int
    tasks: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, np.ndarray]
    judged: Mapping[str, tuple[str, np.ndarray]]

    @property
    def kept(self) -> Sequence[Kept]:
        """Its training rows, as a memory holds them; each is made when it is asked for."""
        names, rows = list(self.rows), list(self.rows.values())
        ends = list(accumulate(len(each) for each in rows))

        def kept(place: int) -> Kept:
            which = bisect_right(ends, place)
            return Kept(names[which], self.tasks[names[which]], int(rows[which][place - ends[which]]))

        return OnDemand(kept, range(ends[-1] if ends else 0))


@dataclass(frozen=True)
class Replay:
    """Rows of earlier stages that join each turn: `memory` by stage, and how many; None: as many as the turn has."""

    memory: Sequence[Sequence[Kept]]
    rows_per_step: int | None
    seed: int


class StagedSampler:
    """Deals the rows of `stages` into turns, each by a sampler over its own rows, in `samplers`; see `Sampler`.

    Behind the last stage it begins again, so that any epoch can be asked for. `lengths`: of all rows by source.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        samplers: Sequence[Sampler],
        lengths: Mapping[str, np.ndarray],
        *,
        replay: Replay | None = None,
    ) -> None:
        self.stages, self.samplers, self.lengths, self.replay = stages, samplers, dict(lengths), replay
        self.ends = list(accumulate(stage.epochs for stage in stages))

    @property
    def halves(self) -> bool:
        """As `Sampler` has it."""
        return self.samplers[0].halves

    def stage_of(self, epoch: int) -> int:
        """Return the number of the stage that `epoch` is of, both from 0."""
        return int(np.searchsorted(self.ends, epoch % self.ends[-1], side="right"))

    def turns_in(self, epoch: int) -> int:
        """Return the turns of `epoch`."""
        return self.samplers[self.stage_of(epoch)].turns_in(self._own(epoch))

    def deal(self, *, halves: bool) -> None:
        """Deal as a run that goes on began to; see `Sampler.deal`."""
        for sampler in self.samplers:
            sampler.deal(halves=halves)

    def epoch(self, epoch: int) -> Sequence[Turn]:
        """Return the turns of `epoch` (from 0), each of which is made when it is asked for."""
        at = self.stage_of(epoch)
        dealt = self.samplers[at].epoch(self._own(epoch))

        def turn(number: int) -> Turn:
            own = self._of_stage(dealt[number], self.stages[at])
            return own if self.replay is None else self._joined(own, at, epoch, number)

        return OnDemand(turn, range(len(dealt)))

    def one_of_each_size(self, epochs: int) -> list[Turn] | None:
        """Return a turn of each source and number of rows that there is in the first `epochs` epochs of each stage.

        None where rows of the memory join them, or turns are planned by tokens: how many, is told by no arithmetic.
        """
        found = []
        for stage, sampler, end in zip(self.stages, self.samplers, self.ends, strict=True):
            own = sampler.one_of_each_size(max(0, min(stage.epochs, epochs - (end - stage.epochs))))
            if own is None or self.replay is not None:
                return None
            found += [self._of_stage(turn, stage) for turn in own]
        return found

    def _own(self, epoch: int) -> int:
        """Return the number of `epoch` in its stage."""
        at = self.stage_of(epoch)
        return epoch % self.ends[-1] - (self.ends[at - 1] if at else 0)

    def _of_stage(self, turn: Turn, stage: Stage) -> Turn:
        """Return a turn of the rows of `stage` as one of all rows."""
        rows = stage.rows[turn.source][turn.rows].tolist()
        beside = tuple(self._of_stage(each, stage) for each in turn.beside)
        return Turn(turn.source, rows, beside, stage.tasks[turn.source])

    def _joined(self, turn: Turn, stage: int, epoch: int, number: int) -> Turn:
        """Return `turn` with rows of the memory: in one with those that the same tasks read, beside the others."""
        assert self.replay is not None
        count = self.replay.rows_per_step or turn.size
        rows = by_reader(drawn(self.replay.memory[stage], count, seed=self.replay.seed, step=(epoch, number)))
        parts = []
        for part in turn.parts:
            own = [*part.rows, *rows.pop((part.source, part.tasks), [])]
            parts.append(Turn(part.source, self._sorted(part.source, own), (), part.tasks))
        parts += [Turn(source, self._sorted(source, each), (), tasks) for (source, tasks), each in rows.items()]
        return parts[0]._replace(beside=tuple(parts[1:]))

    def _sorted(self, source: str, rows: list[int]) -> list[int]:
        """Return rows by length where turns are taken in halves, as `Sampler` deals them."""
        return [rows[at] for at in np.argsort(self.lengths[source][rows], kind="stable")] if self.halves else rows
