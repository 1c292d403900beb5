"""A task that leaves the others no say."""

from __future__ import annotations

import logging

import pytest

from jenga.balance.dominance import Dominance


def told(caplog: pytest.LogCaptureFixture, *norms: dict[str, float]) -> list[str]:
    found = Dominance()
    with caplog.at_level(logging.WARNING):
        for step, each in enumerate(norms, start=1):
            found.look(each, step)
    return [record.getMessage() for record in caplog.records]


def test_a_task_that_dominates_three_times_in_a_row_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    messages = told(caplog, *[{"calls": 50.0, "intent": 1.0, "slots": 1.5}] * 5)
    assert len(messages) == 1
    assert messages[0].startswith("step 3: task 'calls' dominates the encoder: its gradient is 20 times that of all")


def test_one_that_does_so_now_and_then_or_is_alone_is_not(caplog: pytest.LogCaptureFixture) -> None:
    great, like = {"calls": 50.0, "intent": 1.0}, {"calls": 9.0, "intent": 1.0}
    assert told(caplog, great, great, like, great, great, like, *[{"calls": 50.0}] * 4) == []


def test_one_beside_which_nothing_else_learns_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert "its gradient is the only one" in told(caplog, *[{"calls": 0.5, "intent": 0.0}] * 3)[0]
