"""Work beside the run, in order, which can be left alone where it does not end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any


class Beside:
    """Does jobs one after the other in a thread of its own. A job must not raise.

    Unlike a pool of `concurrent.futures` it keeps no program from ending: who waits decides for how long.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._open = 0
        self._last = time.monotonic()
        self._name = name
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[..., None], *arguments: Any) -> None:
        """Call ``job(*arguments)`` once those before it are done."""
        with self._changed:
            self._open += 1
        self._jobs.put((job, arguments))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def wait(self, patience_s: float) -> bool:
        """Return True once all jobs are done, False where for `patience_s` none has been, from now on."""
        begin = time.monotonic()
        with self._changed:
            while self._open:
                left = max(begin, self._last) + patience_s - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _work(self) -> None:
        while True:
            job, arguments = self._jobs.get()
            try:
                job(*arguments)
            finally:
                with self._changed:
                    self._open -= 1
                    self._last = time.monotonic()
                    self._changed.notify_all()
