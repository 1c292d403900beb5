"""Tables for people, on a terminal or a page."""

from __future__ import annotations

from collections.abc import Sequence

NONE = "-"
"""A cell without a value."""


def is_numeric(column: Sequence[str]) -> bool:
    """Whether the cells of a column are numbers, where they are any: such columns stand on the right."""
    cells = [cell for cell in column if cell != NONE]
    return bool(cells) and all(map(_is_number, cells))


def _is_number(cell: str) -> bool:
    return cell.lstrip("-").replace(",", "").replace(".", "", 1).isdigit()
