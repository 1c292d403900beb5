"""The time since the row before, of all rows or of the same entity, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .reference_encode import Reading, State
from .reference_hash import hash64

_KEY_BITS = 53


class Paces:
    """The last time of each timestamp field with inter-arrival, or of each of its entities.

    `previous`: as `last` gives it.
    """

    def __init__(self, plan: dict[str, Any], previous: ArrayLike | None) -> None:
        fields = plan["fields"]
        self._fields, self._missing = fields, {word.encode() for word in plan.get("missing", ())}
        self._timed = [at for at, each in enumerate(fields) if each["kind"] == "timestamp" and each["inter_arrival"]]
        # By field and entity; that of a whole stream is called None. What was heard of last stands last.
        self._last: dict[int, dict[int | None, float]] = {place: {} for place in self._timed}
        given: list[float] = [] if previous is None else np.asarray(previous, np.float64).tolist()
        for place, seconds in zip(self._timed, given, strict=False):
            if not math.isnan(seconds) and "by" not in fields[place]:
                self._last[place][None] = seconds
        rest = iter(given[len(self._timed) :])
        for at, key, seconds in zip(rest, rest, rest, strict=True):
            self._exchange(self._timed[int(at)], int(key), seconds)

    def before(self, readings: Sequence[Reading]) -> dict[int, float]:
        """Return by field the time before that of a row, NaN where none is known, and remember the row's."""
        found = {}
        for place in self._timed:
            own = readings[place]
            entity = self._entity(place, readings)
            if own.state == State.PRESENT and entity != -1:
                found[place] = self._exchange(place, entity, own.number)
        return found

    def last(self) -> NDArray[np.float64]:
        """Return the last time of each field, NaN where there is none; then field, key and time of each entity."""
        whole = [self._last[place].get(None, math.nan) for place in self._timed]
        entities = [
            number
            for at, place in enumerate(self._timed)
            for key, seconds in self._last[place].items()
            if key is not None
            for number in (at, key, seconds)
        ]
        return np.array([*whole, *entities], np.float64)

    def _entity(self, place: int, readings: Sequence[Reading]) -> int | None:
        """Return the key of a row's entity, -1 where it names none, None where the field counts all rows."""
        if "by" not in self._fields[place]:
            return None
        by = next(at for at, field in enumerate(self._fields) if field["path"] == self._fields[place]["by"])
        name = readings[by].text.strip()
        if readings[by].state not in (State.PRESENT, State.UNKNOWN) or not name or name in self._missing:
            return -1
        return hash64(readings[by].text) >> (64 - _KEY_BITS)

    def _exchange(self, place: int, key: int | None, seconds: float) -> float:
        times = self._last[place]
        before = times.pop(key, math.nan)
        if key is not None and math.isnan(before) and len(times) == self._fields[place]["max_entities"]:
            del times[next(iter(times))]
        times[key] = seconds
        return before
