"""What a launcher tells a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jenga.launched import LAUNCHER, RESTARTS, number, restarted, restarts, size


def test_alone_a_process_is_the_first_and_was_never_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", RESTARTS):
        monkeypatch.delenv(name, raising=False)
    assert (number(), size()) == (0, 1)
    assert not restarted()


@pytest.mark.parametrize(("rank", "world"), [("3", ""), ("", "4"), ("x", "4"), ("1", "1")])
def test_what_no_launcher_says_is_nothing(monkeypatch: pytest.MonkeyPatch, rank: str, world: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    assert number() == 0


@pytest.mark.parametrize("name", ["TORCHELASTIC_RESTART_COUNT", RESTARTS])
def test_a_launcher_tells_its_number_and_that_it_was_started_anew(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv(name, "1")
    assert (number(), size()) == (3, 4)
    assert restarted()
    assert restarts() == 1


RANK = """
import time
from jenga.launched import end_with_launcher
end_with_launcher()
print(flush=True)
time.sleep(120)
"""
STARTS = """
import os, subprocess, sys, time
os.environ["JENGA_LAUNCHER"] = str(os.getpid())
rank = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
rank.stdout.readline()
print(rank.pid, flush=True)
time.sleep(120)
"""


def state_of(process: int) -> str:
    """Return the letter of a process's state; Z where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a process with its parent")
@pytest.mark.parametrize("stopped", [False, True])
def test_a_process_ends_with_a_launcher_that_is_killed_though_it_is_stopped(stopped: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS, RANK], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        rank = int(launcher.stdout.readline())
        if stopped:
            os.kill(rank, signal.SIGSTOP)
        launcher.kill()
    end = time.monotonic() + 10
    while state_of(rank) != "Z" and time.monotonic() < end:
        time.sleep(0.02)
    assert state_of(rank) == "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a process with its parent")
def test_a_process_whose_launcher_is_gone_already_does_not_begin() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RANK], env={**os.environ, LAUNCHER: "1"}, capture_output=True, text=True, check=False
    )
    assert "LostProcessError: the process that started this one is gone" in done.stderr
