"""Large libraries are imported while the garbage collector rests.

Nothing of a module dies as it is imported, yet each of the collector's passes looks at all that is there already: with
torch and transformers in the process, that is a quarter of the processor time that their imports take.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_resting = 0
_was_enabled = False


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keep the collector of cycles off, in all threads; several may ask for it at once, one inside the other too.

    What is freed without it is freed as ever, by counting.
    """
    global _resting, _was_enabled
    with _lock:
        if not _resting:
            _was_enabled = gc.isenabled()
            gc.disable()
        _resting += 1
    try:
        yield
    finally:
        with _lock:
            _resting -= 1
            if not _resting and _was_enabled:
                _settle()
                gc.enable()


def _settle() -> None:
    """Count all that is there among the old, which the next passes leave out, unless something is frozen already."""
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()
