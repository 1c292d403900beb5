"""How long OpenMP's waiting threads hold on to their core.

Between two parallel loops libgomp, which PyTorch's wheels for Linux link, lets its threads wait in a busy loop, for
milliseconds. Beside other busy processes they take the cores from those that have work. libgomp reads its variables as
it is loaded, with torch; Intel's KMP_BLOCKTIME is not one of them.
"""

from __future__ import annotations

import os
import sys

SPIN_COUNT = "1000"
"""Rounds of the busy loop before a waiting thread sleeps; libgomp's own number is 300,000."""

_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_in_force = "not set: jenga was not imported"


def limit_spinning() -> None:
    """Set GOMP_SPINCOUNT, unless the environment says how threads wait, or it is too late: torch is there."""
    global _in_force
    given = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    if given:
        _in_force = f"{' '.join(given)}, from the environment"
    elif "torch" in sys.modules:
        _in_force = f"not set: torch was loaded before jenga; set GOMP_SPINCOUNT={SPIN_COUNT} yourself"
    else:
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
        _in_force = f"GOMP_SPINCOUNT={SPIN_COUNT}, set by jenga"


def spinning() -> str:
    """Return in words what is in force, and who set it."""
    return _in_force
