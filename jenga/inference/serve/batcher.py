"""Work of many callers, done by one thread in batches that are bounded in tokens and in time."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jenga.errors import ConfigError, SetupError

logger = logging.getLogger(__name__)

MAX_BATCH_ROWS = 4096
"""Rows of a batch at most, however few tokens they have."""
_LOOKS = 10
"""Times that the thread looks at what came while a batch waits for more: to be woken by each request costs more."""
_SHORTEST_S, _LONGEST_S = 0.001, 0.05
_FORGETTING = 0.8
"""Share of what was known of the pace before, in what is known after a batch."""


@dataclass(frozen=True)
class QueueLimits:
    """`batch_tokens`: of a batch, at which it is closed; `wait_s`: that its first work waits for more at most.

    `rows`: that may wait at once; work of more rows is taken where nothing else waits.
    """

    batch_tokens: int = 16_384
    wait_s: float = 0.005
    rows: int = 8192

    def __post_init__(self) -> None:
        if self.batch_tokens < 1 or self.rows < 1 or not self.wait_s >= 0:
            raise ConfigError(
                f"limits of the queue: got {self.batch_tokens} tokens, {self.wait_s:g} s and {self.rows} rows; "
                "allowed: 1 or more, 0 or more, 1 or more"
            )


class QueueFullError(SetupError):
    """No more work is taken now. `retry_s`: when there may be room again, in whole seconds."""

    def __init__(self, waiting: int, retry_s: int) -> None:
        self.retry_s = retry_s
        super().__init__(f"{waiting} rows wait already")


class Observer(Protocol):
    """Counts what a batcher does; called from any thread."""

    def waiting(self, rows: int) -> None:
        """So many rows wait now."""

    def batch(self, rows: int, tokens: int, seconds: float) -> None:
        """A batch was answered."""

    def dropped(self, rows: int) -> None:
        """Rows were dropped from the queue: nobody waits for their answers any more."""


@dataclass(eq=False)
class _Job:
    work: Any
    rows: int
    future: asyncio.Future[Any]
    arrived: float
    tokens: int | None = None


class Batcher:
    """One queue and the thread that empties it; made, fed and closed by the thread of one event loop.

    answer: called in the thread with the work of a batch, yields results or exceptions by the places of the work, some
    at a time. count: called there too, returns the tokens of each work.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Any]], Iterable[Mapping[int, Any]]],
        count: Callable[[Sequence[Any]], Sequence[int]],
        limits: QueueLimits,
        observer: Observer,
        *,
        name: str,
    ) -> None:
        self._answer, self._count, self._limits, self._observer = answer, count, limits, observer
        self._waiting: dict[int, _Job] = {}
        self._rows = 0
        self._rows_per_s = 0.0
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, name=f"jenga-serve-{name}", daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        """Whether it takes work."""
        return self._open

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self._rows

    def put(self, work: Any, *, rows: int) -> asyncio.Future[Any]:
        """Let `work` wait for its turn; its result becomes that of the future, and a cancelled one is dropped.

        Raises QueueFullError.
        """
        future = asyncio.get_running_loop().create_future()
        job = _Job(work, rows, future, time.monotonic())
        with self._changed:
            if not self._open:
                raise RuntimeError("the batcher is closed")
            if self._rows and self._rows + rows > self._limits.rows:
                raise QueueFullError(self._rows, self._retry_s())
            if not self._waiting:
                self._changed.notify()
            self._waiting[id(job)] = job
            self._rows += rows
            self._observer.waiting(self._rows)
        future.add_done_callback(lambda done: self._drop(job) if done.cancelled() else None)
        return future

    def close(self) -> None:
        """Take no more work, and end the thread once all that waits is answered."""
        with self._changed:
            self._open = False
            self._changed.notify()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def _retry_s(self) -> int:
        if not self._rows_per_s:
            return 1
        return min(60, max(1, math.ceil(self._rows / self._rows_per_s)))

    def _drop(self, job: _Job) -> None:
        with self._changed:
            if self._waiting.pop(id(job), None) is None:
                return
            self._rows -= job.rows
            self._observer.waiting(self._rows)
        self._observer.dropped(job.rows)

    # ------------------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        while jobs := self._taken():
            begin = time.monotonic()
            left = dict(enumerate(jobs))
            try:
                for results in self._answer([job.work for job in jobs]):
                    _deliver([(left.pop(at), result) for at, result in results.items()])
                assert not left, f"no results of {len(left)} of {len(jobs)} jobs"
            except Exception as error:  # a mistake of ours must not end the thread that all others wait for
                logger.exception("a batch of %d could not be answered", len(jobs))
                _deliver([(job, error) for job in left.values()])
            seconds = time.monotonic() - begin
            rows, tokens = sum(job.rows for job in jobs), sum(job.tokens or 0 for job in jobs)
            pace, known = rows / max(seconds, 1e-6), self._rows_per_s
            self._rows_per_s = _FORGETTING * known + (1 - _FORGETTING) * pace if known else pace
            self._observer.batch(rows, tokens, seconds)
            # What was answered is not kept while the next batch is waited for.
            del jobs, left, results

    def _taken(self) -> list[_Job]:
        """Return the jobs of the next batch, once it is closed; none where there will be no more."""
        step = min(max(self._limits.wait_s / _LOOKS, _SHORTEST_S), _LONGEST_S)
        while True:
            with self._changed:
                while not self._waiting:
                    if not self._open:
                        return []
                    self._changed.wait()
                waiting = list(self._waiting.values())
            self._counted(waiting)
            tokens, rows = sum(job.tokens or 0 for job in waiting), sum(job.rows for job in waiting)
            left = waiting[0].arrived + self._limits.wait_s - time.monotonic()
            full = tokens >= self._limits.batch_tokens or rows >= MAX_BATCH_ROWS
            if full or left <= 0 or not self._open:
                if jobs := self._first(waiting):
                    return jobs
            else:
                with self._changed:
                    self._changed.wait(min(step, left))

    def _counted(self, jobs: Sequence[_Job]) -> None:
        new = [job for job in jobs if job.tokens is None]
        if not new:
            return
        try:
            counts = self._count([job.work for job in new])
        except Exception:  # what cannot be counted is told of where it is answered
            logger.debug("tokens could not be counted", exc_info=True)
            counts = [0] * len(new)
        for job, tokens in zip(new, counts, strict=True):
            job.tokens = tokens

    def _first(self, waiting: Sequence[_Job]) -> list[_Job]:
        """Take the first of the jobs, as many as a batch holds, out of the queue; nobody waits for some any more."""
        jobs: list[_Job] = []
        rows = tokens = 0
        with self._changed:
            for job in waiting:
                if id(job) not in self._waiting:
                    continue
                rows, tokens = rows + job.rows, tokens + (job.tokens or 0)
                if jobs and (tokens > self._limits.batch_tokens or rows > MAX_BATCH_ROWS):
                    break
                jobs.append(job)
                del self._waiting[id(job)]
                self._rows -= job.rows
            self._observer.waiting(self._rows)
        return jobs


def _deliver(found: Sequence[tuple[_Job, Any]]) -> None:
    """Hand results to those who wait for them, in their event loop, all at once."""

    def deliver() -> None:
        for job, result in found:
            if job.future.done():
                continue
            if isinstance(result, BaseException):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    if not found:
        return
    try:
        found[0][0].future.get_loop().call_soon_threadsafe(deliver)
    except RuntimeError:
        logger.debug("the event loop is closed; %d results are dropped", len(found))
