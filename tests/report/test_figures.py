"""Figures are short."""

from __future__ import annotations

import pytest

from jenga.report.figures import number


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.0, "0.000"), (0.12345, "0.123"), (-1.5, "-1.500"), (12345.6, "1.235e+04")]
)
def test_numbers_are_short(value: float | None, shown: str) -> None:
    assert number(value) == shown
