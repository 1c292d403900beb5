"""The collector rests while libraries are imported."""

from __future__ import annotations

import gc
import threading

import pytest

from jenga.imports import collector_at_rest


def test_the_collector_rests_inside_and_works_behind_an_error() -> None:
    assert gc.isenabled()
    with collector_at_rest():
        with pytest.raises(KeyError), collector_at_rest():
            raise KeyError(gc.isenabled())
        assert not gc.isenabled(), "the outer one still wants it off"
    assert gc.isenabled()


def test_what_was_imported_is_old_to_the_collector() -> None:
    with collector_at_rest():
        made: list[list[int]] = [[] for _ in range(5000)]
        assert any(each is made for each in gc.get_objects(generation=0))
    assert any(each is made for each in gc.get_objects(generation=2))
    assert gc.get_freeze_count() == 0


def test_two_threads_may_want_it_to_rest_at_once() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collector_at_rest():
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=other)
    with collector_at_rest():
        thread.start()
        assert inside.wait(5)
    assert not gc.isenabled(), "the other thread still wants it off"
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
