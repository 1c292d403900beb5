"""Policies and scored events that need no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.policy.decide import Policy

RULE = """\
  - name: flood
    when: {task: triage, head: threat, label: [dos, probe], min_probability: 0.9}
    identity: [src_ip]
    cooldown_s: 60
"""


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def policy(tmp_path: Path, clock: Clock) -> Callable[..., Policy]:
    """Return a function that loads a policy: of the rule `flood` and `more` keys of the file."""

    def load(more: str = "", *, rules: str = RULE) -> Policy:
        path = tmp_path / "policy.yml"
        path.write_text(f"rules:\n{rules}{more}")
        return Policy.load(path, clock=clock)

    return load


def scored(label: str = "dos", probability: float = 0.97, *, row: str = "17") -> dict[str, Any]:
    return {"id": row, "triage": {"threat": {"label": label, "probability": probability}}}


@pytest.fixture
def answer() -> Callable[..., dict[str, Any]]:
    """Return a function that makes the answer to a row."""
    return scored
