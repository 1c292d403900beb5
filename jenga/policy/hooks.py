"""Programs of the user's that an alert runs: without a shell, for a limited time, and so many a minute."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from jenga.policy.chain import canonical
from jenga.policy.schema import Hook

_LONGEST_NAP_S = 0.02
_MINUTE_S = 60.0
_DEATH_S = 5.0
"""Seconds in which a process that was killed is gone; one of another user's, which may not be killed, is not."""


@dataclass(frozen=True)
class Ended:
    """How a run of a hook ended. code: its exit code, minus the signal that ended it, None where it did not start."""

    hook: str
    of: int
    code: int | None
    timed_out: bool
    seconds: float
    error: str | None = None


class Hooks:
    """Runs hooks side by side with what calls `start`, which never waits for them.

    A hook gets the alert as JSON on its standard input, from a file without a name, so that one that reads none of it
    stops nobody. Its output is dropped. It runs in `folder`, as the first of a process group of its own; the group is
    killed when the time is over, and when its first process ends. hidden: environment variables it does not get.
    ended: called with how each run ended, by a thread of its own.
    """

    def __init__(
        self, hooks: Mapping[str, Hook], *, folder: Path, hidden: Collection[str], ended: Callable[[Ended], None]
    ) -> None:
        self._lanes = {name: _Lane(hook) for name, hook in hooks.items()}
        self._folder, self._ended = folder, ended
        self._environment = {name: value for name, value in os.environ.items() if name not in hidden}

    def start(self, name: str, alert: Mapping[str, Any]) -> str | None:
        """Let the hook `name` run for the record `alert`; return why it is dropped, None where it runs or waits."""
        lane = self._lanes[name]
        if (reason := lane.enter(time.monotonic())) is not None:
            return reason
        # Where no thread can be started it waits for one that can, and `close` tells of it.
        with contextlib.suppress(RuntimeError):
            lane.pool.submit(self._run, name, lane, int(alert["seq"]), canonical(alert) + b"\n")
        return None

    def close(self, *, drop: bool = False) -> int:
        """Wait for all that runs or waits, its time limits at most, and return how many never began.

        drop: wait for what runs alone. Else all begin, but where no thread can be started.
        """
        for lane in self._lanes.values():
            lane.pool.shutdown(wait=False, cancel_futures=drop)
        for lane in self._lanes.values():
            lane.pool.shutdown(wait=True)
        return sum(lane.waiting for lane in self._lanes.values())

    def _run(self, name: str, lane: _Lane, seq: int, content: bytes) -> None:
        lane.begin()
        began = time.monotonic()
        code, timed_out, error = None, False, None
        try:
            with tempfile.TemporaryFile() as given:
                given.write(content)
                given.seek(0)
                code, timed_out = self._ran(lane.hook, given)
            if code is None:
                error = "was killed and is not gone; does it run as another user?"
        except Exception as problem:  # whatever it is, such as no processes left: the log says so, and others run
            error = f"cannot be run ({getattr(problem, 'strerror', None) or str(problem) or type(problem).__name__})"
        self._ended(Ended(name, seq, code, timed_out, round(time.monotonic() - began, 3), error))

    def _ran(self, hook: Hook, given: IO[bytes]) -> tuple[int | None, bool]:
        """Run `hook`; return its exit code, None where it cannot be killed, and whether its time was over."""
        process = subprocess.Popen(
            [program_of(hook, self._folder) or hook.run[0], *hook.run[1:]],
            stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self._folder, env=self._environment, start_new_session=True,
        )  # fmt: skip
        try:
            in_time = _ends(process, hook.timeout_s)
        finally:
            # Its first process is dead or dying, but not taken from the table yet: the group's number is its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_DEATH_S)
        return process.returncode, not in_time


def program_of(hook: Hook, folder: Path) -> str | None:
    """Return the program that a hook runs, by its whole path; None where there is none that can be run.

    A name with a / is relative to `folder`, others are looked for where programs are.
    """
    name = hook.run[0]
    return shutil.which(str(folder / os.path.expanduser(name)) if "/" in name else name)


def _ends(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for a child to end, without taking it from the table of processes; return whether it did in time."""
    if not hasattr(os, "waitid"):  # macOS: it is taken from the table, and its number is free a moment too early
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
        return process.returncode is not None
    due, nap = time.monotonic() + timeout_s, 0.0005
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        left = due - time.monotonic()
        if left <= 0:
            return False
        nap = min(2 * nap, left, _LONGEST_NAP_S)
        time.sleep(nap)
    return True


class _Lane:
    """The runs of one hook. `waiting`: how many have not begun."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.pool = ThreadPoolExecutor(hook.at_once, thread_name_prefix="jenga-hook")
        self.waiting = 0
        self._begun: deque[float] = deque()
        self._lock = threading.Lock()

    def enter(self, now: float) -> str | None:
        """Count a run that is to begin at `now`; return why it may not."""
        with self._lock:
            while self._begun and now - self._begun[0] >= _MINUTE_S:
                self._begun.popleft()
            if len(self._begun) >= self.hook.max_per_minute:
                return f"more than {self.hook.max_per_minute} in a minute (max_per_minute)"
            if self.waiting >= self.hook.max_per_minute:
                return f"{self.waiting} wait already, {self.hook.at_once} at a time (at_once)"
            self._begun.append(now)
            self.waiting += 1
            return None

    def begin(self) -> None:
        """Count a run as no longer waiting."""
        with self._lock:
            self.waiting -= 1
