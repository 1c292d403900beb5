"""What other processes make ahead: the same, in the same order; they end with what they are for, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from jenga.ahead import LEAST_ITEMS, made_ahead, worker_count
from jenga.errors import ConfigError, JengaError, SetupError

ITEMS = range(40)


class OddError(Exception):
    """Cannot be made again of its words alone, as a copy of it is."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def squares(item: int) -> torch.Tensor:
    return torch.full((3,), float(item**2))


def is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pids: list[int], within_s: float) -> bool:
    until = time.monotonic() + within_s
    while any(map(is_there, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(is_there, pids))


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = multiprocessing.active_children()
    yield
    assert [each for each in multiprocessing.active_children() if each not in before] == []


# --------------------------------------------------------------------------------------------------------- what is made


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", [range, lambda count: iter(range(count))])
@pytest.mark.parametrize("count", [0, 1, LEAST_ITEMS, 40])
def test_all_is_made_once_and_in_order(kind: Callable[[int], Any], count: int, workers: int) -> None:
    items = range(count)
    with made_ahead(squares, kind(count), workers=workers) as made:
        found = list(made)
    assert [each.tolist() for each in found] == [squares(item).tolist() for item in items]


def test_items_of_uneven_work_keep_their_order() -> None:
    def make(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0.0)
        return item

    with made_ahead(make, ITEMS, workers=2) as made:
        assert list(made) == list(ITEMS)


def test_other_processes_make_it_and_few_items_are_made_here() -> None:
    with made_ahead(lambda _: os.getpid(), ITEMS, workers=2) as made:
        pids = set(made)
    assert len(pids) == 2
    assert os.getpid() not in pids
    with made_ahead(lambda _: os.getpid(), range(LEAST_ITEMS - 1), workers=2) as made:
        assert set(made) == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_than_two_items_a_process_are_made_ahead(tmp_path: Path, workers: int) -> None:
    def make(item: int) -> int:
        (tmp_path / str(item)).touch()
        return item

    with made_ahead(make, range(1000), workers=workers) as made:
        for taken in range(1, 30):
            next(made)
            time.sleep(0.01)
            assert len(list(tmp_path.iterdir())) <= taken + 2 * workers
        time.sleep(0.3)
        # One is made for each that is taken, so that they are no fewer either.
        assert len(list(tmp_path.iterdir())) == taken + 2 * workers


def test_no_random_number_of_this_process_is_drawn() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with made_ahead(squares, ITEMS, workers=2) as made:
        list(made)
    assert torch.equal(torch.rand(3), expected)


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "error", [SetupError("no room"), ConfigError("bad key"), ValueError("odd"), OSError(2, "not there"), KeyError("k")]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_raised_in_the_turn_of_its_item_as_it_is(error: Exception, workers: int) -> None:
    def make(item: int) -> int:
        if item == 11:
            raise error
        return item

    found = []
    with made_ahead(make, ITEMS, workers=workers) as made, pytest.raises(type(error)) as raised:
        found.extend(iter(lambda: next(made), None))
    assert str(raised.value) == str(error)
    assert found == list(range(11))
    if workers and not isinstance(error, JengaError):
        assert "in make" in "".join(raised.value.__notes__), "where it was raised"


def test_an_error_that_cannot_be_copied_keeps_its_words() -> None:
    def make(item: int) -> int:
        raise OddError("both", "words")

    with made_ahead(make, ITEMS, workers=1) as made, pytest.raises(RuntimeError, match="OddError: both words"):
        next(made)


def test_what_cannot_be_handed_over_is_an_error_and_no_endless_wait() -> None:
    with made_ahead(lambda item: lambda: item, ITEMS, workers=1) as made, pytest.raises(Exception, match="pickle"):
        next(made)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_the_system_ends_is_told_and_ends_the_others(number: int, workers: int) -> None:
    def make(item: int) -> int:
        if item == 12:
            os.kill(os.getpid(), number)
        return os.getpid()

    pids: set[int] = set()
    with (
        pytest.raises(
            SetupError, match=r"\((pid|one of) \d+.* was ended by the system.*lower data\.workers \(now \d; 0: none\)"
        ),
        made_ahead(make, ITEMS, workers=workers) as made,
    ):
        pids.update(made)
    assert len(pids) == workers
    assert gone(list(pids), within_s=0)


def test_an_error_of_the_caller_ends_them_while_it_is_on_its_way() -> None:
    pids: list[int] = []

    def interrupted() -> None:
        with made_ahead(lambda item: os.getpid(), ITEMS, workers=2) as made:
            pids.extend(next(made) for _ in range(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        interrupted()
    assert raised.value.__traceback__ is not None
    assert len(set(pids)) == 2
    assert gone(pids, within_s=0)


def test_a_process_that_is_making_something_is_not_waited_for() -> None:
    def make(item: int) -> int:
        if item > 1:
            time.sleep(60)
        return os.getpid()

    began = time.monotonic()
    with made_ahead(make, ITEMS, workers=2) as made:
        pids = [next(made), next(made)]
    assert time.monotonic() - began < 10
    assert gone(pids, within_s=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_is_left_to_their_parent(number: int) -> None:
    with made_ahead(lambda item: os.getpid(), ITEMS, workers=2) as made:
        pids = {next(made), next(made)}
        for pid in pids:
            os.kill(pid, number)
        assert {*pids, *made} == pids


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_they_end_soon_after_a_parent_that_is_killed(number: int) -> None:
    script = (
        "import os, time\nfrom jenga.ahead import made_ahead\n"
        "with made_ahead(lambda item: os.getpid(), range(40), workers=2) as made:\n"
        "    print(next(made), next(made), flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(each) for each in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(number)
    # Each looks for its parent every five seconds.
    assert gone(pids, within_s=20)


# --------------------------------------------------------------------------------------------------------- how many


def cores(count: int) -> Callable[[int], set[int]]:
    return lambda pid: set(range(count))


@pytest.mark.parametrize(
    ("count", "worth_it", "shared", "expected"),
    [(1, True, 1 << 31, 0), (2, True, 1 << 31, 1), (64, True, 1 << 31, 4), (64, False, 1 << 31, 0),
     (64, True, 64 << 20, 0)],
)  # fmt: skip
def test_unasked_there_is_one_a_core_but_for_one_where_that_is_worth_it_and_there_is_room(
    monkeypatch: pytest.MonkeyPatch, count: int, worth_it: bool, shared: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", cores(count))
    monkeypatch.setattr("jenga.ahead._shared_memory", lambda: shared)
    assert worker_count(None, worth_it=worth_it) == expected


@pytest.mark.parametrize("given", [0, 1, 7])
def test_the_number_that_is_asked_for_is_taken(given: int) -> None:
    assert worker_count(given, worth_it=True) == worker_count(given, worth_it=False) == given


def test_none_are_had_elsewhere_than_on_linux_and_asking_for_some_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert worker_count(None, worth_it=True) == 0
    assert worker_count(0, worth_it=True) == 0
    with pytest.raises(SetupError, match=r"data\.workers: 2 processes cannot be started: .*darwin; set it to 0"):
        worker_count(2, worth_it=True)


def test_a_worker_of_another_pool_starts_none() -> None:
    def make(item: int) -> tuple[int | None, str]:
        try:
            worker_count(2, worth_it=True)
        except SetupError as error:
            return worker_count(None, worth_it=True), str(error)
        return None, ""

    with made_ahead(make, ITEMS, workers=1) as made:
        count, words = next(made)
    assert count == 0
    assert "worker of another one" in words
