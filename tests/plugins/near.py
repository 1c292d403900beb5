"""Answers that may differ in their last bits: a row beside others is padded otherwise, or computed in another batch."""

from __future__ import annotations

from typing import Any

import pytest


def near(value: Any) -> Any:
    """Return what equals an answer whose numbers are those of `value` but for rounding of their six digits."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-5, abs=2e-6)
    if isinstance(value, list):
        return [near(each) for each in value]
    return {key: near(each) for key, each in value.items()} if isinstance(value, dict) else value
