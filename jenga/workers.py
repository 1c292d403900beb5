"""Jobs that other processes do, handed over in their order, and done again where a process dies.

They are fresh processes and no forks (compare `jenga.ahead`): each computes with threads of its own, maybe on a GPU,
which a fork of a process that has computed already cannot do.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

from jenga.ahead import portable
from jenga.errors import SetupError

logger = logging.getLogger(__name__)
Job = TypeVar("Job")
Made = TypeVar("Made")
TRIES = 3
"""Processes that a job is given, one after the other, where each of them dies of it."""
AHEAD = 3
"""Jobs for each process that are under way or done and not handed over yet, at most: what bounds the memory."""
_END_S = 5.0


def in_order(
    start: Callable[[], Callable[[Job], Made]],
    jobs: Iterable[Job],
    *,
    processes: int,
    threads: int,
    place: Callable[[Job], str],
) -> Generator[Made]:
    """Yield what is made of each of `jobs`, in their order, by up to `processes` processes of `threads` threads each.

    start: called once in each process, and returns what does a job there; it and what it returns make are pickled. A
    job of a process that dies is done again by a new one. place: how messages call a job, such as "rows 1 to 9". What
    a job raises is raised in its turn. `jobs` are asked for as there is room for them. All processes end with the
    iterator, however it ends, and soon after this process does. Raises SetupError where processes keep dying.
    """
    with closing(_Pool(start, jobs, processes, threads, place)) as pool:
        yield from pool.made()


@dataclass
class _Task(Generic[Job]):
    index: int
    job: Job
    deaths: int = 0


@dataclass
class _Failure:
    error: Exception


@dataclass(eq=False)
class _Process(Generic[Job]):
    """`ready`: whether it has begun; `task`: what it does."""

    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    task: _Task[Job] | None = None


class _Pool(Generic[Job, Made]):
    def __init__(
        self, start: Callable[[], Callable[[Job], Made]], jobs: Iterable[Job], count: int, threads: int,
        place: Callable[[Job], str],
    ) -> None:  # fmt: skip
        self._start, self._count, self._threads, self._place = start, count, threads, place
        self._jobs = enumerate(jobs)
        self._waiting: deque[_Task[Job]] = deque()
        self._done: dict[int, Any] = {}
        self._given = 0
        """How many have been handed over."""
        self._early_deaths = 0
        self._all: list[_Process[Job]] = []

    def made(self) -> Iterator[Made]:
        while True:
            self._feed()
            while self._given in self._done:
                found = self._done.pop(self._given)
                self._given += 1
                if isinstance(found, _Failure):
                    raise found.error
                yield found
                self._feed()
            if not self._waiting and not any(each.task for each in self._all):
                return
            for pipe in wait([each.pipe for each in self._all]):
                self._hear(next(each for each in self._all if each.pipe is pipe))

    def close(self) -> None:
        """End all processes."""
        for each in self._all:
            each.process.terminate()
        for each in self._all:
            each.process.join(_END_S)
            if each.process.exitcode is None:
                each.process.kill()
                each.process.join()
            each.pipe.close()
        self._all.clear()

    def _feed(self) -> None:
        """Give a job to each process that has none, and start processes as long as there are too few."""
        end = self._given + AHEAD * self._count
        while len(self._waiting) < self._count and (pulled := next(self._jobs, None) if self._room(end) else None):
            self._waiting.append(_Task(*pulled))
        for each in list(self._all):
            if each.ready and each.task is None and self._waiting and self._waiting[0].index < end:
                each.task = self._waiting.popleft()
                self._send(each, each.task.job)
        while len(self._all) < self._count and sum(not each.ready for each in self._all) < len(self._waiting):
            self._begin()

    def _room(self, end: int) -> bool:
        """Whether one more job may be asked for."""
        known = [*self._waiting, *(each.task for each in self._all if each.task is not None)]
        last = max([self._given - 1, *self._done, *(task.index for task in known)])
        return last + 1 < end

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._threads), daemon=True)
        with _uninterrupted():
            process.start()
        # With this end closed, the death of the process is the end of what can be read.
        theirs.close()
        made: _Process[Job] = _Process(process, ours)
        self._all.append(made)
        self._send(made, self._start)

    def _send(self, to: _Process[Job], what: Any) -> None:
        packed = ForkingPickler.dumps(what)
        try:
            to.pipe.send_bytes(packed)
        except OSError:
            self._bury(to)

    def _hear(self, one: _Process[Job]) -> None:
        try:
            found = one.pipe.recv()
        except (EOFError, OSError):
            self._bury(one)
            return
        if one.task is None:
            if isinstance(found, _Failure):
                raise found.error
            one.ready, self._early_deaths = True, 0
            return
        self._done[one.task.index] = found
        one.task = None

    def _bury(self, one: _Process[Job]) -> None:
        """Let what a dead process had to do be done again. Raises SetupError where processes die as they begin."""
        self._all.remove(one)
        one.process.join(_END_S)
        one.pipe.close()
        how, task = _how(one.process.exitcode), one.task
        if task is None:
            self._early_deaths += not one.ready
            if self._early_deaths >= TRIES:
                raise SetupError(f"{self._early_deaths} processes {how} as they began; {_FIX}")
            return
        task.deaths += 1
        if task.deaths < TRIES:
            logger.warning("%s: the process at it %s; it is done again by a new one", self._place(task.job), how)
            self._waiting.appendleft(task)
            return
        words = f"{self._place(task.job)}: {task.deaths} processes at it, one after the other, {how}; {_FIX}"
        self._done[task.index] = _Failure(SetupError(words))


_FIX = "most likely the memory does not suffice: start fewer processes, or give them smaller batches"


def _how(code: int | None) -> str:
    return f"ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a process that is started here never see an interrupt: the terminal sends it to all, and we end them."""
    # Started first: it would let signals through again, for the process that is started after it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, threads: int) -> None:
    """Do the jobs that come through `pipe`, until it is closed; the first message is what begins."""
    # Libraries read these as they are loaded, which unpacking the first message does.
    os.environ.update(OMP_NUM_THREADS=str(threads), TQDM_DISABLE="1")
    do: Callable[[Any], Any] | None = None
    while True:
        try:
            packed = pipe.recv_bytes()
        except (EOFError, OSError):
            return  # the parent is gone
        try:
            given = ForkingPickler.loads(packed)
            if do is None:
                do, made = given(), None
            else:
                made = do(given)
            answer = ForkingPickler.dumps(made)
        except Exception as error:  # handed over to be raised there
            answer = ForkingPickler.dumps(_Failure(portable(error)))
        try:
            pipe.send_bytes(answer)
        except OSError:
            return
