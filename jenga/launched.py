"""What a launcher of several processes, such as torchrun, tells each of them; without torch."""

from __future__ import annotations

import os

RESTARTS = "JENGA_RESTARTS"
"""How often `jenga train --processes` has started all anew."""
BEGUN = "JENGA_BEGUN"
"""When it started them first, in ISO 8601 of UTC."""


def size() -> int:
    """Return how many processes a launcher has started; 1 without one."""
    return _number("WORLD_SIZE", 1)


def number() -> int:
    """Return the number of this process among those of a run; 0 where it is alone."""
    return _number("RANK", 0) if size() > 1 else 0


def restarted() -> bool:
    """Whether the processes of this run were started anew, since one of them had ended."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0) > 0 or _number(RESTARTS, 0) > 0


def _number(name: str, otherwise: int) -> int:
    given = os.environ.get(name, "")
    return int(given) if given.isascii() and given.isdigit() else otherwise
