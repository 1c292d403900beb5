"""How tests share the machine: a worker for each core, one thread in each, and nothing beside a `serial` test.

`addopts` asks for `-n auto`. What pytest-xdist starts for it are two to four processes, and none where single files are
named: their start would take longer than the tests.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
MOST_WORKERS = 4
"""Each holds PyTorch and its own copies of what is shared in a session; some tests take a gigabyte."""

if WORKER is not None:
    # Before torch is loaded, and for what a test starts. Threads of two workers on two cores wait for one another.
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    named = [Path(arg.split("::")[0]) for arg in config.args]
    if any(path.is_file() for path in named):
        return 0
    cores = len(os.sched_getaffinity(0))
    return 0 if cores == 1 else min(cores, MOST_WORKERS)


class Room:
    """Held by many at once, or by one alone; who wants it alone waits for those inside, and nobody else comes in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def held(self, *, alone: bool) -> Iterator[None]:
        # Locks go with the files that are closed.
        with (self._folder / "inside").open("w") as inside:
            with (self._folder / "door").open("w") as door:
                fcntl.flock(door, fcntl.LOCK_EX)
                fcntl.flock(inside, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield


FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()
ROOM = pytest.StashKey[Room]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker, from the process that hands out the tests, where the doors of all of them are."""
    stash = node.config.stash
    if FOLDER not in stash:
        stash[FOLDER] = tempfile.TemporaryDirectory(prefix="jenga-tests-")
    node.workerinput["jenga_room"] = stash[FOLDER].name


def pytest_unconfigure(config: pytest.Config) -> None:
    if FOLDER in config.stash:
        config.stash[FOLDER].cleanup()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # WORKER stands in the environment of what a worker starts, too
        import torch

        torch.set_num_threads(1)
        config.stash[ROOM] = Room(Path(config.workerinput["jenga_room"]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    room = item.config.stash.get(ROOM, None)
    if room is None:
        return (yield)
    with room.held(alone=item.get_closest_marker("serial") is not None):
        return (yield)
