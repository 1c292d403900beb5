"""Several processes at one address, without what takes long to load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.serial

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from jenga.inference.serve.workers import METRICS_FOLDER, supervise

folder, kind = Path(sys.argv[1]), sys.argv[2]

def begin():
    if kind == "refuses":
        return 4
    stops = []
    signal.signal(signal.SIGTERM, lambda *_: stops.append(1))
    signal.signal(signal.SIGHUP, lambda *_: (folder / f"hup-{os.getpid()}").touch())
    assert Path(os.environ[METRICS_FOLDER]).is_dir()
    (folder / f"alive-{os.getpid()}").touch()
    while not stops:
        if kind == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
    return 0

if __name__ == "__main__":
    try:
        sys.exit(supervise(begin, 2))
    except Exception as error:
        print(error)
        sys.exit(9)
"""


def until(found: object) -> None:
    end = time.monotonic() + 15
    while not found():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def started(folder: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    made = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), kind], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        yield made
    finally:
        made.kill()
        made.wait()
        assert made.stdout is not None
        made.stdout.close()


def processes(folder: Path, kind: str = "alive") -> set[int]:
    return {int(path.name.partition("-")[2]) for path in folder.glob(f"{kind}-*")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_handed_on_and_all_end_with_0(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, "lives") as made:
        until(lambda: len(processes(tmp_path)) == 2)
        made.send_signal(signal.SIGHUP)
        until(lambda: processes(tmp_path, "hup") == processes(tmp_path))
        made.send_signal(number)
        assert made.wait(15) == 0
    for each in processes(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(each, 0)


def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    with started(tmp_path, "lives") as made:
        until(lambda: len(processes(tmp_path)) == 2)
        os.kill(min(processes(tmp_path)), signal.SIGKILL)
        until(lambda: len(processes(tmp_path)) == 3)
        made.send_signal(signal.SIGTERM)
        assert made.wait(15) == 0


def test_an_error_of_one_process_ends_all_with_its_code(tmp_path: Path) -> None:
    with started(tmp_path, "refuses") as made:
        assert made.wait(15) == 4


def test_processes_that_are_killed_again_and_again_are_given_up(tmp_path: Path) -> None:
    with started(tmp_path, "dies") as made:
        assert made.wait(15) == 9
        assert made.stdout is not None
        assert "5 processes were killed" in made.stdout.read()
