"""Answers to the rows of a file by several processes, each with the model: the bytes that one would write.

This process reads the rows and cuts them into the pieces in which one process answers them. What is made of all rows
beforehand, the features of events with the time since the one before, is made here too, and goes along with each piece.
"""

from __future__ import annotations

import logging
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from jenga.errors import ConfigError
from jenga.inference.loading import load
from jenga.inference.predictor import Predictor
from jenga.inference.reading import ASIDE, Plan, carried
from jenga.inference.written import Written, written
from jenga.rows.batches import RowEncoder
from jenga.rows.given import RowsLike
from jenga.rows.raw import RawRows
from jenga.workers import in_order


@dataclass(frozen=True)
class Asked:
    """Which model is to answer, and what: parameters of `load`, of `Predictor.session` and of `Predictor.predict`."""

    run: str
    device: str = "auto"
    base_model: str | None = None
    trust_remote_code: bool = False
    keep: tuple[str, ...] = ()
    batch_size: int | None = None
    probabilities: bool = False
    drivers: bool = True
    runtime: str | None = None

    def predictor(self) -> Predictor:
        """Return the model, loaded."""
        made = load(
            self.run, device=self.device, base_model=self.base_model, trust_remote_code=self.trust_remote_code,
            runtime=self.runtime,
        )  # fmt: skip
        return made.session(keep=self.keep)

    def answers(
        self, predictor: Predictor, piece: RawRows, plan: Plan, encoder: RowEncoder | None
    ) -> list[dict[str, Any]]:
        """Return the answers of `predictor`."""
        return predictor.answers(
            piece, plan, encoder,
            batch_size=self.batch_size, probabilities=self.probabilities, drivers=self.drivers,
        )  # fmt: skip


@dataclass(frozen=True)
class _Piece:
    rows: RawRows
    encoder: RowEncoder | None

    @property
    def place(self) -> str:
        numbers = [*self.rows.numbers, *(bad.number for bad in self.rows.bad)]
        return f"{self.rows.file}, rows {min(numbers):,} to {max(numbers):,}" if numbers else self.rows.file


@dataclass(frozen=True)
class _Told:
    """A warning of a worker; `subject`: what it is about, None of one that is told each time."""

    logger: str
    level: int
    words: str
    subject: str | None


def scored(
    predictor: Predictor, rows: RowsLike, asked: Asked, *, processes: int, whole: bool = False
) -> Generator[Written]:
    """Yield the answers to `rows` in their order, by `processes` processes; by this one alone where that is 1.

    predictor: a session of the model that `asked` names, which reads the rows. whole: whether each answer is to stand
    beside its row in `Written.seen`. The processes share the threads that torch has here. A process that dies has its
    piece done again by a new one; see `in_order`. Raises ConfigError for a model of several backbones that count the
    rows before one, and what `Predictor.predict` raises.
    """
    import torch

    if processes == 1:
        answers = predictor.stream(
            rows, batch_size=asked.batch_size, probabilities=asked.probabilities, drivers=asked.drivers
        )
        yield from written(answers, frozenset(predictor.model.tasks), whole=whole)
        return
    if len(predictor.bundle.inputs) > 1 and predictor.inputs.ordered:
        raise ConfigError(
            "--processes: a backbone of this model reads what came before a row, of the rows that are its own; "
            "this model of several backbones answers in one process"
        )
    raw = predictor.inputs.given(rows, predictor.bundle.specs)
    begin = partial(_begin, asked, predictor.plan(raw), whole, logging.getLogger().getEffectiveLevel())
    pieces: deque[_Piece] = deque()

    def jobs() -> Iterator[_Piece]:
        for piece, encoder in predictor.pieces(raw):
            pieces.append(_Piece(piece, encoder))
            yield pieces[-1]

    threads = max(1, torch.get_num_threads() // processes)
    made = in_order(begin, jobs(), processes=processes, threads=threads, place=lambda piece: piece.place)
    with closing(made):
        for found, told in made:
            for each in told:
                _tell(predictor, each)
            piece = pieces.popleft()
            if whole:
                events = carried(piece.rows, (), whole=True)
                found.seen = [
                    (events[at][ASIDE], answer) for at, (_, answer) in zip(sorted(events), found.seen, strict=True)
                ]
            yield found


def _tell(predictor: Predictor, told: _Told) -> None:
    if told.subject is not None:
        predictor.inputs.warn(told.subject, told.words)
    else:
        logging.getLogger(told.logger).log(told.level, "%s", told.words)


# --------------------------------------------------------------------------------------------------- in each process


class _Heard(logging.Handler):
    """Keeps what is told while a piece is answered, for the process that has a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[_Told] = []

    def emit(self, record: logging.LogRecord) -> None:
        subject = getattr(record, "subject", None)
        self.told.append(_Told(record.name, record.levelno, record.getMessage(), subject))

    def show(self, message: Warning | str, *_: Any, **__: Any) -> None:
        """Keep a warning of the module `warnings`, which is told once."""
        self.told.append(_Told("", logging.WARNING, str(message), f"warning: {message}"))


def _begin(asked: Asked, plan: Plan, whole: bool, level: int) -> Callable[[_Piece], tuple[Written, list[_Told]]]:
    """Return what answers a piece in this process."""
    heard = _Heard()
    logging.getLogger().addHandler(heard)
    logging.getLogger().setLevel(level)
    warnings.showwarning = heard.show
    predictor = asked.predictor()
    tasks = frozenset(predictor.model.tasks)
    # What is told of a model as it is loaded, the parent has told.
    heard.told.clear()

    def answer(piece: _Piece) -> tuple[Written, list[_Told]]:
        answers = asked.answers(predictor, piece.rows, plan, piece.encoder)
        found = Written.of(answers, tasks)
        found.seen = [({}, each) for each in answers] if whole else []
        told, heard.told = heard.told, []
        return found, told

    return answer
