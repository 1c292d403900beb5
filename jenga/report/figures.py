"""Figures for people."""

from __future__ import annotations


def number(value: float | None) -> str:
    """Return a metric for people: three decimals, four digits where it is large, a dash where it is undefined."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
