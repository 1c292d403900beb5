"""What other processes make ahead of its turn, and hand over in its order.

They are forks, by torch's DataLoader: a fork costs a tenth of a second and shares the rows that are in memory already,
where a fresh process imports torch for seconds, reads all rows again, and cannot be given a part that a script or a
notebook defines. A fork beside threads is safe as long as it touches nothing that one of them may hold locked: these
compute with one thread, on the CPU, log nothing, and take no part in what their parent does (signals, locks of files).
"""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import multiprocessing.process
import multiprocessing.util
import os
import re
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

from jenga.errors import JengaError, SetupError

MOST_BY_DEFAULT = 4
LEAST_SHARED = 1 << 30
"""Bytes free in /dev/shm, where batches are handed over, for any to be started unasked; containers have 64 MiB."""
LEAST_ITEMS = 8
"""Fewer are made here: they are done before another process has begun."""
_DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
Item = TypeVar("Item")
Made = TypeVar("Made")
_ROWS_A_TIME = 32
_TELL_AFTER_S = 5.0


def worker_count(given: int | None, *, worth_it: bool) -> int:
    """Return how many processes make batches ahead.

    given: data.workers; None: where `worth_it`, a core each but for one, 4 at most, else 0. Raises SetupError where
    some are wanted and cannot be had.
    """
    hindrance = _hindrance()
    if given is None:
        if not worth_it or hindrance is not None or _shared_memory() < LEAST_SHARED:
            return 0
        return min(len(os.sched_getaffinity(0)) - 1, MOST_BY_DEFAULT)
    if given and hindrance is not None:
        raise SetupError(f"data.workers: {given} processes cannot be started: {hindrance}; set it to 0")
    return given


def _shared_memory() -> int:
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _hindrance() -> str | None:
    if sys.platform != "linux":
        return f"they are forks, which are safe on Linux alone, not on {sys.platform}"
    if multiprocessing.current_process().daemon:
        return "this process is a worker of another one, which may have none of its own"
    return None


def checked(
    what: str, check: Callable[[int], Made], count: int, *, workers: int, progress: Callable[[str], None] | None
) -> Iterator[Made]:
    """Yield what `check` returns of each of `count` rows, by their place, done in `workers` processes.

    what: is told with how far it is, where that takes long: ``"decoding pictures"``. progress: called with that line.
    """
    cut = [range(start, min(start + _ROWS_A_TIME, count)) for start in range(0, count, _ROWS_A_TIME)]
    began = told = time.monotonic()
    done = 0
    with made_ahead(lambda rows: [check(row) for row in rows], cut, workers=workers) as made:
        for each in made:
            yield from each
            done += len(each)
            now = time.monotonic()
            if progress is not None and now - told > _TELL_AFTER_S and done < count:
                left = (now - began) / done * (count - done)
                progress(f"{what}: {done:,} of {count:,} rows, {left:.0f} s left")
                told = now


@contextmanager
def made_ahead(
    make: Callable[[Item], Made], items: Sequence[Item] | Iterator[Item], *, workers: int
) -> Iterator[Iterator[Made]]:
    """Yield ``map(make, items)``, made in `workers` processes, two items ahead in each; 0, or few items: made here.

    What `make` returns is pickled, tensors excepted, which are shared. What it raises is raised in its item's turn.
    The processes are started when the first item is asked for. They end with the block, however it ends, or within
    seconds after this process does. Raises SetupError where the system ends one of them.
    """
    few = isinstance(items, Sequence) and len(items) < LEAST_ITEMS
    if not workers or few:
        yield map(make, items)
        return
    pool = _Pool(make, items, workers)
    try:
        yield pool.results
    except RuntimeError as error:
        # torch tells of a worker's death wherever this process is by then, not only where it waits for a batch.
        pool.end()
        if (found := _DEATH.search(str(error))) is None:
            raise
        raise _died(f"pid {found[1].strip()}", workers) from None
    finally:
        pool.end()


class _Pool(Generic[Item, Made]):
    """The processes, and what they make, in the order of its items."""

    def __init__(self, make: Callable[[Item], Made], items: Iterable[Item], workers: int) -> None:
        self.results = self._results(make, items, workers)
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._ending = mmap.mmap(-1, 1)
        """A byte that all of them see: whether SIGTERM is the word of this process."""

    def _results(self, make: Callable[[Item], Made], items: Iterable[Item], workers: int) -> Generator[Made]:
        import torch
        from torch.utils.data import DataLoader

        data: Any = _Maker(make)
        sampler: Any = items
        multiprocessing.util.get_temp_dir()  # of this process, which removes it; theirs would stay
        before = multiprocessing.active_children()
        with warnings.catch_warnings():
            # How many are started is the user's word, or ours.
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            made = iter(
                DataLoader(
                    data, batch_size=None, sampler=sampler, num_workers=workers, collate_fn=_as_it_is,
                    # Of its own, lest it draws from the generator that dropout is drawn from.
                    generator=torch.Generator(), multiprocessing_context="fork",
                    worker_init_fn=partial(_begin, self._ending),
                )
            )  # fmt: skip
        self._processes = [each for each in multiprocessing.active_children() if each not in before]
        for packed in made:
            try:
                found = ForkingPickler.loads(packed)
            except (ConnectionError, EOFError, FileNotFoundError):  # it has made this, and cannot be asked for it
                raise _died("one of " + ", ".join(str(each.pid) for each in self._processes), workers) from None
            if isinstance(found, _Failure):
                raise found.error
            yield found

    def end(self) -> None:
        """End the processes, which may be making something, or are still held by an error that is on its way."""
        with _deaths_untold():
            self._ending[0] = 1
            for each in self._processes:
                each.terminate()
            for each in self._processes:
                each.join()
            self.results.close()


@contextmanager
def _deaths_untold() -> Iterator[None]:
    """Let torch not raise for a worker that dies before it is ended: the others would not be."""
    if threading.current_thread() is not threading.main_thread():
        yield  # torch tells the main thread
        return
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _died(who: str, workers: int) -> SetupError:
    return SetupError(
        f"a process that makes batches ({who}) was ended by the system, most likely for want of memory, or of shared "
        f"memory (/dev/shm); lower data.workers (now {workers}; 0: none) or training.batch_size"
    )


@dataclass
class _Failure:
    error: Exception


class _Maker(Generic[Item, Made]):
    """What torch calls a data set. It packs what it hands over: torch waits for ever for what cannot be packed."""

    def __init__(self, make: Callable[[Item], Made]) -> None:
        self.make = make

    def __getitem__(self, item: Item) -> bytes:
        try:
            return bytes(ForkingPickler.dumps(self.make(item)))
        except Exception as error:  # handed over to be raised there, with the words that it has here
            return bytes(ForkingPickler.dumps(_Failure(portable(error))))


def portable(error: Exception) -> Exception:
    """Return `error` as it can be packed: an error of another kind with its words where it cannot."""
    if not isinstance(error, JengaError):
        error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # whatever a class of others comes up with
        found = RuntimeError(f"{type(error).__name__}: {error}")
        found.add_note("\n".join(getattr(error, "__notes__", ())))
        return found
    return error


def _as_it_is(made: Any) -> Any:
    return made


def _begin(ending: mmap.mmap, _: int) -> None:
    """Leave signals to the parent, which ends its workers, and share memory with it for longer."""

    def end(*_: object) -> None:
        if ending[0]:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A system that shuts down sends it to every process, and the parent has a step to finish.
    signal.signal(signal.SIGTERM, end)
    # A collection would write into every object, and so copy all pages that hold one.
    gc.freeze()
