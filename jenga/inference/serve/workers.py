"""Several processes that answer at one address, each with the models; nothing large is imported here.

The parent loads no model: it starts the processes, hands signals on, and puts another in the place of a killed one.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from types import FrameType

from jenga.errors import SetupError

logger = logging.getLogger(__name__)
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of the environment that says where processes keep their figures for each other."""
_MOST_DEATHS, _PERIOD_S = 5, 60.0
_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def supervise(begin: Callable[[], int], count: int) -> int:
    """Run `begin` in `count` processes until they are told to stop, and return the exit code of all.

    begin: returns the exit code of its process; anything but 0 ends the others, since they would meet with the same.
    Raises SetupError where processes are killed again and again.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    with tempfile.TemporaryDirectory(prefix="jenga-serve-") as folder:
        os.environ[METRICS_FOLDER] = folder
        try:
            return _Workers(begin, count).wait()
        finally:
            del os.environ[METRICS_FOLDER]


class _Workers:
    def __init__(self, begin: Callable[[], int], count: int) -> None:
        self._begin = begin
        self._alive: set[int] = set()
        self._stops = False
        self._code = 0
        self._deaths: list[float] = []
        self._former = {number: signal.signal(number, self._hand_on) for number in _HANDED_ON}
        for _ in range(count):
            self._start()

    def wait(self) -> int:
        """Return the exit code, once all are gone."""
        try:
            while self._alive:
                process, status = os.wait()
                if process in self._alive:
                    self._alive.discard(process)
                    self._ended(process, os.waitstatus_to_exitcode(status))
        finally:
            for number, former in self._former.items():
                signal.signal(number, former)
        if len(self._deaths) >= _MOST_DEATHS:
            raise SetupError(
                f"{_MOST_DEATHS} processes were killed within {_PERIOD_S:g} s, as the system does where memory runs "
                "out; start fewer (--workers)"
            )
        return self._code

    def _ended(self, process: int, code: int) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(process)
        if self._stops:
            self._code = self._code or max(code, 0)
        elif code >= 0:
            self._code = code
            self._stop(signal.SIGTERM)
        else:
            now = time.monotonic()
            self._deaths = [each for each in self._deaths if now - each < _PERIOD_S] + [now]
            logger.error("process %d was ended by signal %d", process, -code)
            if len(self._deaths) >= _MOST_DEATHS:
                self._stop(signal.SIGTERM)
            else:
                self._start()

    def _start(self) -> None:
        """Start a process. It is in a group of its own, so that Ctrl-C reaches it by its parent alone."""
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process:
            self._alive.add(process)
            return
        code = 1
        try:
            os.setpgrp()
            for number in _HANDED_ON:
                signal.signal(number, signal.SIG_DFL)
            code = self._begin()
        finally:
            logging.shutdown()
            sys.stderr.flush()
            os._exit(code)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._send(number)
        else:
            self._stop(signal.SIGTERM)

    def _stop(self, number: int) -> None:
        self._stops = True
        self._send(number)

    def _send(self, number: int) -> None:
        for process in self._alive:
            os.kill(process, number)
