"""Signals that end a run."""

from __future__ import annotations

import signal
import threading

import pytest

from jenga.trainer.signals import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_handler_of_before_comes_back(number: int) -> None:
    inherited, asked = signal.getsignal(number), []
    # What began the tests may have ignored it, as nohup does.
    before = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    signal.signal(number, before)
    try:
        with interruptible(lambda: asked.append(1)):
            signal.raise_signal(number)
            assert asked == [1]
            assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, inherited)


def test_outside_the_main_thread_nothing_is_listened_to() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with interruptible(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_under_nohup_a_terminal_that_is_gone_asks_for_nothing() -> None:
    before, asked = signal.signal(signal.SIGHUP, signal.SIG_IGN), []
    try:
        with interruptible(lambda: asked.append(1)):
            signal.raise_signal(signal.SIGHUP)
        assert asked == []
    finally:
        signal.signal(signal.SIGHUP, before)
