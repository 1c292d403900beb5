"""How many threads the refinery works with."""

from __future__ import annotations

import os


def thread_count(n_threads: int | None) -> int:
    """Return `n_threads`; None: as many as there are cores that this process may use."""
    return n_threads or len(os.sched_getaffinity(0))
