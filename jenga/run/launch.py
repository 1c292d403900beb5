"""Several processes of one training on this machine, by torch's own launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from jenga.errors import InterruptedRun, LostProcessError, SetupError
from jenga.launched import LAUNCH, LAUNCHER, RESTARTS

logger = logging.getLogger(__name__)

_SHUTDOWN_S = 600
"""How long processes that were asked to end have for their step and its checkpoint."""
_CLOSE_S = 25
"""Less than torch's launcher leaves processes to end once one of them has failed, before it kills them: 30 seconds."""
_THREADS = "OMP_NUM_THREADS"
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launch(processes: int, arguments: Sequence[str], *, restarts: int = 0) -> int:
    """Run ``python -m jenga.train ARGUMENTS`` in so many processes; return the exit code, 0 where all are done.

    restarts: times that all begin anew, at the newest checkpoint, after one of them was killed. Ctrl-C, SIGTERM and
    SIGHUP are handed on; at the second one all end at once, as they do where this process is killed (on Linux). Raises
    SetupError where a process was killed once too often; of other ends it has told itself.
    """
    os.environ.setdefault(_THREADS, str(max(1, _cores() // processes)))
    os.environ |= {LAUNCH: uuid.uuid4().hex, LAUNCHER: str(os.getpid())}
    for attempt in range(restarts + 1):
        os.environ[RESTARTS] = str(attempt)
        try:
            return _launched(processes, arguments)
        except SetupError as error:
            if attempt == restarts:
                raise
            logger.warning("%s; all begin again, restart %d of %d", error, attempt + 1, restarts)
    raise AssertionError("unreachable")


def _launched(processes: int, arguments: Sequence[str]) -> int:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            # What it tells, with a traceback of its own, is told here in one line.
            logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        local_addr="localhost", run_id=uuid.uuid4().hex, max_restarts=0, shutdown_timeout=_SHUTDOWN_S,
        signals_to_handle="",  # see `_handed_on`
    )  # fmt: skip
    try:
        with _handed_on():
            # -P: no module of the working folder takes the place of an installed one.
            elastic_launch(config, sys.executable)("-P", "-m", "jenga.train", *arguments)
    except SignalException:
        return InterruptedRun.exit_code
    except ChildFailedError as error:
        # Whoever waits for one that was killed or failed fails too, and those that are left are ended.
        codes = {rank: each.exitcode for rank, each in error.failures.items() if each.exitcode != -signal.SIGTERM}
        told = [code for code in codes.values() if code > 0 and code != LostProcessError.exit_code]
        # One that was not heard of is killed after half a minute, and has been named by those that have waited for it.
        begin = min(each.timestamp for each in error.failures.values())
        killed = [
            rank for rank, code in codes.items() if code < 0 and error.failures[rank].timestamp < begin + _CLOSE_S
        ]
        if told or not killed:
            return (told or [code for code in codes.values() if code > 0] or [1])[0]
        name = signal.Signals(-codes[killed[0]]).name
        raise SetupError(
            f"process {killed[0]} of {processes} was ended by {name}; the kernel does so where memory runs out. What "
            "the run has saved is unharmed: go on with --resume auto"
        ) from error
    return 0


@contextmanager
def _handed_on() -> Iterator[None]:
    """Let torch's launcher hand on the first signal to end, and end with all processes at the second.

    Its own handlers would wait for the processes once more then, and hear what nohup lets nobody hear.
    """
    from torch.distributed.elastic.multiprocessing import SignalException

    numbers = [each for each in _ENDS if signal.getsignal(each) is not signal.SIG_IGN or each is not signal.SIGHUP]

    def first(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, lambda *_: os._exit(InterruptedRun.exit_code))
        raise SignalException(f"ended by signal {number}", signal.Signals(number))

    before = {each: signal.signal(each, first) for each in numbers}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
