"""What a launcher of several processes, such as torchrun, tells each of them; without torch."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from jenga.errors import LostProcessError

RESTARTS = "JENGA_RESTARTS"
"""How often `jenga train --processes` has started all anew."""
LAUNCH = "JENGA_LAUNCH"
"""What it calls itself, the same over all restarts: its run is known again by it, and not by the clock."""
LAUNCHER = "JENGA_LAUNCHER"
"""The number that the system gives it."""
_TORCHRUN = "TORCHELASTIC_RUN_ID"
_PR_SET_PDEATHSIG = 1


def size() -> int:
    """Return how many processes a launcher has started; 1 without one."""
    return _number("WORLD_SIZE", 1)


def number() -> int:
    """Return the number of this process among those of a run; 0 where it is alone."""
    return _number("RANK", 0) if size() > 1 else 0


def restarts() -> int:
    """Return how often the processes of this run were started anew, since one of them had ended."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0) + _number(RESTARTS, 0)


def restarted() -> bool:
    """Whether they were."""
    return restarts() > 0


def launch_id() -> str | None:
    """Return what the `jenga train --processes` that has started this process calls itself."""
    return os.environ.get(LAUNCH)


def end_with_launcher() -> None:
    """Let Linux end this process once its launcher is gone, however that came; other systems do not do so.

    Only of launchers that are known to start processes from a thread that lives as long as they do: Linux takes the
    end of that thread for theirs. Raises LostProcessError where `jenga train --processes` is gone already.
    """
    if sys.platform != "linux" or (LAUNCHER not in os.environ and _TORCHRUN not in os.environ):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
        raise LostProcessError("the process that started this one is gone")


def _number(name: str, otherwise: int) -> int:
    given = os.environ.get(name, "")
    return int(given) if given.isascii() and given.isdigit() else otherwise
