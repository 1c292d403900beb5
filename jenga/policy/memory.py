"""What is remembered of identities: when each had its last alert, and how many were kept back since."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any


class Memory:
    """Cooldowns of at most `most` keys; the one unseen for longest is forgotten first, and counted.

    `forgotten`: how many since `told`, and how many suppressed events nobody will hear of with them.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._of: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self.forgotten = (0, 0)
        self.changed = False

    def __len__(self) -> int:
        return len(self._of)

    def passes(self, key: str, at: float, cooldown_s: float) -> int | None:
        """Return how many events of `key` were suppressed since its last alert, where it is due another; else None.

        at: seconds. An event within the cooldown on either side of the last alert is suppressed and counted; one at
        the very end of it, or further away, earlier too, begins anew.
        """
        self.changed = True
        known = self._of.pop(key, None)
        if known is not None and abs(at - known[0]) < cooldown_s:
            self._of[key] = (known[0], known[1] + 1)
            return None
        self.note(key, at)
        return 0 if known is None else known[1]

    def note(self, key: str, at: float) -> None:
        """Remember an alert of `key` at `at`."""
        self.changed = True
        self._of.pop(key, None)
        self._of[key] = (at, 0)
        while len(self._of) > self.most:
            _, (_, suppressed) = self._of.popitem(last=False)
            self.forgotten = (self.forgotten[0] + 1, self.forgotten[1] + suppressed)

    def told(self) -> tuple[int, int]:
        """Return `forgotten`, and begin to count again."""
        found, self.forgotten = self.forgotten, (0, 0)
        return found

    def entries(self) -> list[list[Any]]:
        """Return all that is remembered, ready for JSON, the longest unseen first."""
        return [[key, at, suppressed] for key, (at, suppressed) in self._of.items()]

    def restore(self, entries: Sequence[Sequence[Any]]) -> None:
        """Take over what `entries` gave."""
        for key, at, suppressed in entries:
            self.note(str(key), float(at))
            self._of[str(key)] = (float(at), int(suppressed))
        self.told()
