"""What a serial test is promised."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import workers


def test_one_that_wants_the_room_alone_waits_and_nobody_overtakes_it(tmp_path: Path) -> None:
    events: list[str] = []
    free, inside = threading.Event(), threading.Event()

    def visit(name: str, alone: bool, meanwhile: Callable[[], object]) -> threading.Thread:
        def stay() -> None:
            # A room of its own stands for a process: locks belong to open files.
            with workers.Room(tmp_path).held(alone=alone):
                events.append(f"{name} in")
                meanwhile()
                events.append(f"{name} out")

        thread = threading.Thread(target=stay)
        thread.start()
        return thread

    first = visit("first", False, lambda: (inside.set(), free.wait(60)))
    assert inside.wait(60)
    visit("neighbour", False, lambda: None).join(60)
    alone = visit("alone", True, lambda: None)
    alone.join(0.2)
    late = visit("late", False, lambda: None)
    late.join(0.2)
    assert events == ["first in", "neighbour in", "neighbour out"]
    free.set()
    for each in (first, alone, late):
        each.join(60)
    assert events[3:] == ["first out", "alone in", "alone out", "late in", "late out"]


def test_a_worker_has_one_thread() -> None:
    if workers.WORKER is None:
        pytest.skip("this process is no worker of pytest-xdist")
    assert torch.get_num_threads() == 1
    assert os.environ["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(("named", "parallel"), [(["tests"], True), (["tests", __file__ + "::test_a"], False)])
def test_single_files_are_run_without_workers(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, named: list[str], parallel: bool
) -> None:
    monkeypatch.setattr(pytestconfig, "args", named)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert workers.pytest_xdist_auto_num_workers(pytestconfig) == (workers.MOST_WORKERS if parallel else 0)
