"""Tables for people, on a terminal or a page."""

from __future__ import annotations

from collections.abc import Sequence

NONE = "-"
"""A cell without a value."""


def is_numeric(column: Sequence[str]) -> bool:
    """Whether the cells of a column are numbers, where they are any: such columns stand on the right."""
    cells = [cell for cell in column if cell != NONE]
    return bool(cells) and all(map(_is_number, cells))


def number(value: float | None) -> str:
    """Return a metric for people: three decimals, four digits where it is large, a dash where it is undefined."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def _is_number(cell: str) -> bool:
    return cell.lstrip("-").replace(",", "").replace(".", "", 1).isdigit()
