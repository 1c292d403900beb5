"""What a worker of Ray does of a study: carry out one trial, and ask the study after each evaluation whether to end it.

It asks over `Desk`, an actor, and waits for the answer.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from jenga.errors import SetupError
from jenga.run.experiment import load_config
from jenga.trainer.run import RunFolder
from jenga.tuning.attempt import Judged, carry_out

_LOCK_PATIENCE_S, _GLANCE_S = 60.0, 0.5


@dataclass(frozen=True)
class Job:
    """What a worker is told of a trial. `config`: whole, as a mapping, for its classes cannot be pickled."""

    number: int
    config: dict[str, Any]
    folder: Path
    metric: str
    device: str
    directory: str
    release: str
    deaths: int = 0


class Desk:
    """Takes what workers ask to the study, and its answers back."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[tuple[int, tuple[Any, ...]]] = asyncio.Queue()
        self._answers: list[asyncio.Future[bool | None]] = []

    async def ask(self, *details: Any) -> bool | None:
        """Ask whether a trial is to end; None: the study could not note its score."""
        answer: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        await self._asked.put((len(self._answers) - 1, details))
        return await answer

    async def next(self) -> tuple[int, tuple[Any, ...]]:
        """Wait for a question; return its place and what was asked."""
        return await self._asked.get()

    async def answer(self, place: int, stop: bool | None) -> None:
        """Answer the question at `place`."""
        self._answers[place].set_result(stop)


def in_worker(job: Job, desk: Any) -> Judged:
    """Carry out what is left of a trial in a worker of Ray."""
    import ray

    where = f"the worker on {os.uname().nodename}"
    if version("jenga") != job.release:
        raise SetupError(f"{where} has jenga {version('jenga')}, this study {job.release}; install the same everywhere")
    for needed in (job.directory, str(job.folder.parent / "study.db")):
        if not os.path.exists(needed):
            raise SetupError(f"{where} has no {needed}; the machines have to share the folders of a study and its rows")
    os.chdir(job.directory)  # paths of a configuration may be relative
    _wait_for(job.folder)

    def report(*details: Any) -> bool:
        stop: bool | None = ray.get(desk.ask.remote(job.number, *details))
        if stop is None:  # so that the evaluation is made again
            raise SetupError("the study could not note a score")
        return stop

    return carry_out(
        load_config(job.config), job.folder, metric=job.metric, report=report, device=job.device,
        console=Console(quiet=True),
    )  # fmt: skip


def _wait_for(folder: Path) -> None:
    """Wait until no worker holds the run: that of a study which was killed lives a little longer than its driver."""
    until = time.monotonic() + _LOCK_PATIENCE_S
    while folder.is_dir():
        run = RunFolder(folder)
        try:
            run.hold()
        except SetupError:
            if time.monotonic() > until:
                raise
            time.sleep(_GLANCE_S)
        else:
            run.release()
            return
