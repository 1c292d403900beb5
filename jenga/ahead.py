"""What other processes make ahead of its turn, and hand over in its order.

They are forks, by torch's DataLoader: a fork costs a tenth of a second and shares the rows that are in memory already,
where a fresh process imports torch for seconds, reads all rows again, and cannot be given a part that a script or a
notebook defines. A fork beside threads is safe as long as it touches nothing that one of them may hold locked: these
compute with one thread, on the CPU, log nothing, and take no part in what their parent does (signals, locks of files).
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jenga.errors import JengaError, SetupError

MOST_BY_DEFAULT = 4
LEAST_ITEMS = 8
"""Fewer are made here: they are done before another process has begun."""
_DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
Item = TypeVar("Item")
Made = TypeVar("Made")


def worker_count(given: int | None, *, decodes: bool) -> int:
    """Return how many processes make batches ahead.

    given: data.workers; None: with `decodes`, whether making a batch is work worth handing over, a core each but for
    one, 4 at most, else 0. Raises SetupError where some are wanted and cannot be had.
    """
    hindrance = _hindrance()
    if given is None:
        cores = len(os.sched_getaffinity(0)) if hindrance is None else 1
        return min(cores - 1, MOST_BY_DEFAULT) if decodes else 0
    if given and hindrance is not None:
        raise SetupError(f"data.workers: {given} processes cannot be started: {hindrance}; set it to 0")
    return given


def _hindrance() -> str | None:
    if sys.platform != "linux":
        return f"they are forks, which are safe on Linux alone, not on {sys.platform}"
    if multiprocessing.current_process().daemon:
        return "this process is a worker of another one, which may have none of its own"
    return None


@contextmanager
def made_ahead(
    make: Callable[[Item], Made], items: Sequence[Item] | Iterator[Item], *, workers: int
) -> Iterator[Iterator[Made]]:
    """Yield ``map(make, items)``, made in `workers` processes, two items ahead in each; 0, or few items: made here.

    What `make` returns is pickled, tensors excepted, which are shared. What it raises is raised in its item's turn.
    The processes end with the block, however it ends, and soon after this process does. Raises SetupError where the
    system ends one of them.
    """
    few = isinstance(items, Sequence) and len(items) < LEAST_ITEMS
    if not workers or few:
        yield map(make, items)
        return
    results = _results(make, items, workers)
    try:
        yield results
    except RuntimeError as error:
        # torch tells of a worker's death wherever this process is by then, not only where it waits for a batch.
        if (found := _DEATH.search(str(error))) is None:
            raise
        error.with_traceback(None)  # its frames keep the other workers alive
        raise _died(found[1], workers) from error
    finally:
        results.close()


def _results(make: Callable[[Item], Made], items: Iterable[Item], workers: int) -> Generator[Made]:
    import torch
    from torch.utils.data import DataLoader

    data: Any = _Maker(make)
    sampler: Any = items
    with warnings.catch_warnings():
        # How many are started is the user's word, or ours.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: Any = DataLoader(
            data, batch_size=None, sampler=sampler, num_workers=workers, collate_fn=_as_it_is,
            # Of its own, lest it draws from the generator that dropout is drawn from.
            generator=torch.Generator(), multiprocessing_context="fork", worker_init_fn=_begin,
        )  # fmt: skip
    for made in loader:
        if isinstance(made, _Failure):
            raise made.error
        yield made


def _died(pids: str, workers: int) -> SetupError:
    return SetupError(
        f"a process that makes batches (pid {pids.strip()}) was ended by the system, most likely for want of memory, "
        f"or of shared memory (/dev/shm); lower data.workers (now {workers}; 0: none) or training.batch_size"
    )


@dataclass
class _Failure:
    error: Exception


class _Maker(Generic[Item, Made]):
    """What torch calls a data set."""

    def __init__(self, make: Callable[[Item], Made]) -> None:
        self.make = make

    def __getitem__(self, item: Item) -> Made | _Failure:
        try:
            return self.make(item)
        except Exception as error:  # handed over to be raised there, with the words that it has here
            return _Failure(_portable(error))


def _portable(error: Exception) -> Exception:
    """Return `error` as it can be pickled: an error of another kind with its words where it cannot."""
    if not isinstance(error, JengaError):
        error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a class of others comes up with
        found = RuntimeError(f"{type(error).__name__}: {error}")
        found.add_note("\n".join(getattr(error, "__notes__", ())))
        return found
    return error


def _as_it_is(made: Any) -> Any:
    return made


def _begin(_: int) -> None:
    """Leave signals to the parent, which ends its workers, and share memory with it for longer."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A collection would write into every object, and so copy all pages that hold one.
    gc.freeze()
