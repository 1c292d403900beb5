"""Ctrl-C, SIGTERM and SIGHUP, which end a run after its step."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` at the first Ctrl-C (or SIGTERM) inside the block; the second one ends the process at once.

    SIGHUP, by which a terminal says that it is gone, is such a signal too, but where it is ignored, as under nohup.
    """

    def first(number: int, _frame: FrameType | None) -> None:
        ask()
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    try:
        before = {number: signal.signal(number, first) for number in numbers}
    except ValueError:  # not the main thread, where Python delivers no signals
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
