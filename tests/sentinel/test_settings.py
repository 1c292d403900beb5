"""The block of the sentinel."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jenga.callbacks.sentinel import Sentinel
from jenga.sentinel.settings import SentinelConfig


def test_by_default_it_only_observes() -> None:
    assert SentinelConfig().mode == "observe"


@pytest.mark.parametrize(
    ("key", "value"), [("window", 19), ("keep", 0), ("max_fraction", 1.1), ("spike_z", 0), ("modes", 1)]
)
def test_what_makes_no_sense_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValidationError):
        SentinelConfig(**{key: value})


@pytest.mark.parametrize(
    ("given", "idle"),
    [
        ({"undo_z": 12.0, "keep": 5, "verify_steps": 9}, ["undo_z", "keep", "verify_steps"]),
        ({"mode": "quarantine", "verify_steps": 9}, ["verify_steps"]),
        ({"mode": "act", "undo_z": 12.0, "keep": 5, "verify_steps": 9}, []),
        ({"label_errors": False, "early_epochs": 3}, ["early_epochs"]),
        ({"early_epochs": 3, "keep": 2}, []),
    ],
)
def test_keys_that_change_nothing_are_told(
    given: dict[str, object], idle: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    Sentinel(**SentinelConfig(**given).model_dump())
    told = [each.getMessage() for each in caplog.records]
    assert [each.split(":")[0] for each in told] == [f"callbacks.sentinel.{key}" for key in idle]
