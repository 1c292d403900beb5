"""Programs that an alert runs: their arguments are as they stand, and so is their time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from jenga.policy.hooks import Ended, Hooks, program_of
from jenga.policy.schema import Hook

pytestmark = pytest.mark.serial
ALERT = {"seq": 5, "rule": "flood", "identity": {"user": "$(touch owned); `id`"}}


class Runs(Hooks):
    """Hooks whose ends are kept."""

    def __init__(self, folder: Path, **hooks: Hook) -> None:
        self.ends: list[Ended] = []
        super().__init__(hooks, folder=folder, hidden=["JENGA_SECRET"], ended=self.ends.append)


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that writes a program of the shell and returns its path."""

    def write(body: str) -> str:
        path = tmp_path / f"hook{len(list(tmp_path.iterdir()))}"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_arguments_are_literal_and_nothing_of_the_event_is_among_them(tmp_path: Path, script: Any) -> None:
    arguments = ["; touch owned", "$(touch owned)", "`touch owned`", "a b", "*", "$HOME", "{seq}", "%s"]
    program = script('for each in "$@"; do echo "$each"; done > arguments; env > environment; cat > given')
    runs = Runs(tmp_path, block=Hook(run=[program, *arguments]))
    assert runs.start("block", ALERT) is None
    runs.close()
    assert [(each.code, each.of, each.timed_out) for each in runs.ends] == [(0, 5, False)]
    assert (tmp_path / "arguments").read_text().splitlines() == arguments
    assert json.loads((tmp_path / "given").read_text()) == ALERT
    assert "touch owned" not in (tmp_path / "environment").read_text()
    assert not (tmp_path / "owned").exists()


def test_the_secret_of_the_log_is_not_in_the_environment(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JENGA_SECRET", "sesame")
    monkeypatch.setenv("JENGA_OTHER", "other")
    runs = Runs(tmp_path, block=Hook(run=[script("env > environment")]))
    runs.start("block", ALERT)
    runs.close()
    found = (tmp_path / "environment").read_text()
    assert "JENGA_OTHER=other" in found
    assert "sesame" not in found


@pytest.mark.parametrize(("body", "code"), [("exit 3", 3), ("kill -9 $$", -9), ("exit 0", 0)])
def test_the_exit_code_is_told(tmp_path: Path, script: Any, body: str, code: int) -> None:
    runs = Runs(tmp_path, block=Hook(run=[script(body)]))
    runs.start("block", ALERT)
    runs.close()
    assert [(each.code, each.timed_out, each.error) for each in runs.ends] == [(code, False, None)]


def test_a_program_that_cannot_be_run_is_told_and_no_error_of_the_scoring(tmp_path: Path) -> None:
    runs = Runs(tmp_path, gone=Hook(run=["no-such-program"]))
    runs.start("gone", ALERT)
    runs.close()
    assert [(each.code, each.error) for each in runs.ends] == [(None, "cannot be run (No such file or directory)")]
    assert program_of(Hook(run=["no-such-program"]), tmp_path) is None


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet taken from the table does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    due = time.monotonic() + 5
    while alive(pid) and time.monotonic() < due:
        time.sleep(0.01)
    return not alive(pid)


def test_the_time_limit_kills_what_the_hook_has_started_too(tmp_path: Path, script: Any) -> None:
    body = "trap '' TERM INT HUP\nsh -c 'sleep 60 & echo $! > deep; wait' &\necho $$ > first\nwait\nsleep 60"
    runs = Runs(tmp_path, block=Hook(run=[script(body)], timeout_s=0.5))
    runs.start("block", ALERT)
    began = time.monotonic()
    runs.close()
    assert time.monotonic() - began < 5
    assert [(each.code, each.timed_out) for each in runs.ends] == [(-9, True)]
    for name in ("first", "deep"):
        assert gone(int((tmp_path / name).read_text())), name


@pytest.mark.parametrize("body", ["sleep 60 & echo $! > left; wait", "sleep 60 & echo $! > left; exit 4"])
def test_a_system_without_waitid_kills_as_well(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.delattr(os, "waitid")
    runs = Runs(tmp_path, block=Hook(run=[script(body)], timeout_s=0.5))
    runs.start("block", ALERT)
    runs.close()
    wanted = (4, False) if "exit" in body else (-9, True)
    assert [(each.code, each.timed_out, each.error) for each in runs.ends] == [(*wanted, None)]
    assert gone(int((tmp_path / "left").read_text()))


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
def test_a_hook_that_may_not_be_killed_is_told_and_waited_for_no_longer(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(group: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refused)
    monkeypatch.setattr("jenga.policy.hooks._DEATH_S", 0.1)
    runs = Runs(tmp_path, block=Hook(run=[script("echo $$ > first; exec sleep 60")], timeout_s=0.5))
    runs.start("block", ALERT)
    began = time.monotonic()
    runs.close()
    assert time.monotonic() - began < 5
    error = "was killed and is not gone; does it run as another user?"
    assert [(each.code, each.timed_out, each.error) for each in runs.ends] == [(None, True, error)]
    first = int((tmp_path / "first").read_text())
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)


@pytest.mark.parametrize("problem", [MemoryError(), subprocess.SubprocessError("odd"), KeyError("x")])
def test_whatever_keeps_a_hook_from_running_is_told(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise problem

    monkeypatch.setattr(subprocess, "Popen", broken)
    runs = Runs(tmp_path, block=Hook(run=[script("exit 0")]))
    runs.start("block", ALERT)
    runs.close()
    told = str(problem) or "MemoryError"
    assert [(each.code, each.error) for each in runs.ends] == [(None, f"cannot be run ({told})")]


def test_a_thread_that_cannot_be_started_stops_nobody_and_is_counted(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runs = Runs(tmp_path, block=Hook(run=[script("exit 0")]))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        assert runs.start("block", ALERT) is None
    assert (runs.close(), runs.ends) == (1, [])


def test_what_a_hook_leaves_running_ends_with_it(tmp_path: Path, script: Any) -> None:
    runs = Runs(tmp_path, block=Hook(run=[script("sleep 60 & echo $! > left")]))
    runs.start("block", ALERT)
    runs.close()
    assert [(each.code, each.timed_out) for each in runs.ends] == [(0, False)]
    assert gone(int((tmp_path / "left").read_text()))


def test_a_hook_that_hangs_and_reads_nothing_keeps_nobody_waiting(tmp_path: Path, script: Any) -> None:
    runs = Runs(tmp_path, block=Hook(run=[script("sleep 60")], timeout_s=0.4))
    began = time.monotonic()
    for _ in range(3):
        assert runs.start("block", ALERT | {"words": "x" * 1_000_000}) is None
    assert time.monotonic() - began < 0.3
    runs.close()
    assert 1.2 <= time.monotonic() - began < 6  # one after the other: at_once is 1
    assert [each.timed_out for each in runs.ends] == [True] * 3


def test_runs_side_by_side_are_as_many_as_allowed(tmp_path: Path, script: Any) -> None:
    body = "echo x >> running\nwait_for=0\nwhile [ $(wc -l < running) -lt 2 ] && [ $wait_for -lt 400 ]; do\n"
    body += "  sleep 0.01; wait_for=$((wait_for + 1))\ndone\n[ $wait_for -lt 400 ]"
    runs = Runs(tmp_path, block=Hook(run=[script(body)], at_once=2))
    runs.start("block", ALERT)
    runs.start("block", ALERT)
    runs.close()
    assert [each.code for each in runs.ends] == [0, 0]  # each saw the other


def test_more_than_so_many_a_minute_are_dropped_and_told(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("jenga.policy.hooks.time", type("Time", (), {"monotonic": lambda: now[0], "sleep": time.sleep}))
    runs = Runs(tmp_path, block=Hook(run=[script("exit 0")], max_per_minute=2))
    assert [runs.start("block", ALERT) for _ in range(2)] == [None, None]
    assert runs.start("block", ALERT) == "more than 2 in a minute (max_per_minute)"
    now[0] += 59.9
    assert runs.start("block", ALERT) is not None
    now[0] += 0.1
    assert runs.start("block", ALERT) is None
    runs.close()
    assert len(runs.ends) == 3


def test_after_an_error_what_waits_is_dropped_and_counted(tmp_path: Path, script: Any) -> None:
    runs = Runs(tmp_path, block=Hook(run=[script("echo x > begun; sleep 0.3")]))
    for _ in range(3):
        runs.start("block", ALERT)
    due = time.monotonic() + 5
    while not (tmp_path / "begun").exists() and time.monotonic() < due:
        time.sleep(0.005)
    assert runs.close(drop=True) == 2
    assert len(runs.ends) == 1


def test_no_thread_and_no_child_is_left(tmp_path: Path, script: Any) -> None:
    def left() -> tuple[int, set[int]]:
        # Other tests of this process may have left children of their own.
        return threading.active_count(), {child.pid for child in psutil.Process().children()}

    before = left()
    runs = Runs(tmp_path, block=Hook(run=[script("exit 0")], at_once=4))
    for _ in range(4):
        runs.start("block", ALERT)
    runs.close()
    assert len(runs.ends) == 4
    assert left() == before
