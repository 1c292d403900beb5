"""The block of the sentinel."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jenga.sentinel.settings import SentinelConfig


def test_by_default_it_only_observes() -> None:
    assert SentinelConfig().mode == "observe"


@pytest.mark.parametrize(
    ("key", "value"), [("window", 19), ("keep", 0), ("max_fraction", 1.1), ("spike_z", 0), ("modes", 1)]
)
def test_what_makes_no_sense_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValidationError):
        SentinelConfig(**{key: value})
