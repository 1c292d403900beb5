"""When entities, such as users or hosts, were last heard of in the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class EntityTimes:
    """The last time of up to `limit` entities by name; the one that was heard of longest ago is forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # What was heard of last stands last.
        self._times: dict[bytes, float] = {}

    def gaps(self, names: Sequence[bytes | None], times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the seconds since the row before of the same entity, 0.0 at least, of the rows that have one.

        `names` and `times` ``(M,)``, in the order of the rows; None names nobody, and such rows are passed over.
        """
        known, found = self._times, []
        for name, seconds in zip(names, times.tolist(), strict=True):
            if name is None:
                continue
            before = known.pop(name, None)
            if before is not None:
                found.append(max(seconds - before, 0.0))
            elif len(known) == self._limit:
                del known[next(iter(known))]
            known[name] = seconds
        return np.array(found, np.float64)


def named(texts: Sequence[bytes], missing: Sequence[str]) -> list[bytes | None]:
    """Return names of entities, None for blanks and for the words of `missing`, which name nobody."""
    nobody = {b"", *(word.encode() for word in missing)}
    return [None if text.strip() in nobody else text for text in texts]
