"""Work beside the run."""

from __future__ import annotations

import subprocess
import sys
import threading

from jenga.callbacks.beside import Beside

HANGS = """
import threading
from jenga.callbacks.beside import Beside
worker = Beside("x")
worker.submit(threading.Event().wait)
assert not worker.wait(0.05)
print("done", flush=True)
"""


def test_jobs_are_done_in_their_order_by_one_thread() -> None:
    worker, done = Beside("x"), []
    for number in range(50):
        worker.submit(lambda number=number: done.append((number, threading.current_thread().name)))
    assert worker.wait(10)
    assert done == [(number, "x") for number in range(50)]


def test_waiting_ends_once_no_job_has_been_done_for_that_long() -> None:
    worker, hold = Beside("x"), threading.Event()
    worker.submit(hold.wait)
    assert not worker.wait(0.02)
    hold.set()
    assert worker.wait(10)


def test_waiting_goes_on_as_long_as_jobs_are_done() -> None:
    worker = Beside("x")
    for _ in range(8):
        worker.submit(threading.Event().wait, 0.05)
    assert worker.wait(0.3), "longer than this together, and each of them less"


def test_nothing_to_do_is_done() -> None:
    assert Beside("x").wait(0)


def test_a_job_that_never_ends_keeps_no_program_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], timeout=60, capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"
