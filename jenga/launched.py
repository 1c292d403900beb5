"""What a launcher of several processes, such as torchrun, tells each of them; without torch."""

from __future__ import annotations

import os


def number() -> int:
    """Return the number of this process among those of a run; 0 where it is alone."""
    return int(os.environ.get("RANK", "0"))


def restarted() -> bool:
    """Whether the processes of this run were started anew, since one of them had ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
