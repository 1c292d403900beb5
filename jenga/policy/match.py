"""Which answers a rule is about, and what of an event it looks at."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jenga.policy.schema import When

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_TEXT_LENGTH = 256
"""Characters of a text of an event that are remembered and written down; a longer one is told by its digest."""
_MOST_BITS = 1024
"""Of a whole number that is one at all: more are no float, and from 4,300 digits on Python writes no decimal ones."""
_MOST_INSIDE = 64
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Match:
    """What of an answer fits a rule. `number`: the probability, score or value that was judged; None: none was."""

    head: str | None
    label: str | None
    number: float | None
    answer: Mapping[str, Any]


class Matcher:
    """Tells whether an answer, in the form of `jenga.Predictor.predict`, fits the conditions of a rule."""

    def __init__(self, when: When) -> None:
        self.when = when
        self._labels = None if when.label is None else frozenset(when.label)
        self._by_label = any(what in ("label", "probability", "value") for what, _ in when.asks)
        self._by_score = any(what == "score" for what, _ in when.asks)

    def match(self, answer: Mapping[str, Any]) -> Match | None:
        """Return what of `answer` fits; None where it does not, or the task has no answer."""
        of_task = answer.get(self.when.task)
        if not isinstance(of_task, dict):
            return None
        head, found = self._part(of_task)
        if found is None or (self.when.alert and found.get("alert") is not True):
            return None
        score = _number(found.get("score"))
        if score is None:  # an item may be called so
            score = _number(found.get("score_"))
        if self._by_score and not _within(score, self.when.min_score, self.when.max_score):
            return None
        if not self._by_label:
            label = found.get("label")
            return Match(head, label if isinstance(label, str) else None, score, found)
        best: Match | None = None
        for label, number, is_value in _said(found):
            if self._fits(label, number, is_value) and (best is None or (number or 0.0) > (best.number or 0.0)):
                best = Match(head, label, number, found)
        return best

    def _part(self, of_task: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | None]:
        """Return the head and its answer; of several heads, where the rule names none, what the task itself tells."""
        if self.when.head is not None:
            found = of_task.get(self.when.head)
            return self.when.head, found if isinstance(found, dict) else None
        heads = [name for name, found in of_task.items() if isinstance(found, dict)]
        return (heads[0], of_task[heads[0]]) if len(heads) == 1 else (None, of_task)

    def _fits(self, label: str | None, number: float | None, is_value: bool) -> bool:
        when = self.when
        if self._labels is not None and label not in self._labels:
            return False
        if when.min_probability is not None and (is_value or number is None or number < when.min_probability):
            return False
        if when.min_value is None and when.max_value is None:
            return True
        return is_value and _within(number, when.min_value, when.max_value)


def _said(found: Mapping[str, Any]) -> Iterator[tuple[str | None, float | None, bool]]:
    """Yield each label of an answer with its probability, or each number with its name, and whether it is a number."""
    if isinstance(label := found.get("label"), str):
        yield label, _number(found.get("probability")), False
        return
    if (value := _number(found.get("value"))) is not None:
        yield None, value, True
        return
    listed = [found.get("entities"), found.get("events")]
    if some := [each for each in listed if isinstance(each, list)]:
        for each in some[0]:
            yield each["label"], _number(each.get("probability")), False
        return
    values = found.get("values")
    if isinstance(values, dict) and "value" not in values:
        for name, value in values.items():
            yield name, _number(value), True
        return
    for name, item in found.items():
        if isinstance(item, dict) and item.get("value") is True:
            yield name, _number(item.get("probability")), False


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _within(number: float | None, least: float | None, greatest: float | None) -> bool:
    if number is None:
        return False
    return (least is None or number >= least) and (greatest is None or number <= greatest)


# --------------------------------------------------------------------------------------------------------------- event


def plain(value: Any, *, depth: int = 0) -> Any:
    """Return a value as JSON can hold it, short: of long texts the beginning and a digest that tells them apart."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else _short(_written(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth >= _DEEPEST:
        return _short(_written(value))
    if isinstance(value, Mapping):
        items = list(value.items())
        found = {_short(_written(key)): plain(each, depth=depth + 1) for key, each in items[:_MOST_INSIDE]}
        return found if len(items) <= _MOST_INSIDE else found | {"...": f"{len(items) - _MOST_INSIDE} more"}
    if isinstance(value, list | tuple):
        more = [f"... {len(value) - _MOST_INSIDE} more"] if len(value) > _MOST_INSIDE else []
        return [plain(each, depth=depth + 1) for each in value[:_MOST_INSIDE]] + more
    return _short(_written(value))


def brief(value: Any) -> Any:
    """Return `plain(value)`, and of a long list or object the beginning as a text, with a digest as long texts have."""
    found = plain(value)
    if not isinstance(found, dict | list):
        return found
    text = json.dumps(found, sort_keys=True, separators=(",", ":"))
    return found if len(text) <= _TEXT_LENGTH else _short(text)


def _written(value: Any) -> str:
    """Return a value as a text, whatever it is: an event that cannot be shown is no reason to stop."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return hex(value)
    try:
        return str(value)
    except Exception:
        return f"a value of the type {type(value).__name__}, which cannot be written"


def _short(text: str) -> str:
    if len(text) <= _TEXT_LENGTH:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:_TEXT_LENGTH]}... ({len(text)} characters, sha256 {digest})"


def seconds_of(value: Any, unit: str) -> float | None:
    """Return a time as seconds since 1970; None for what is none. A text without a zone is UTC."""
    if (number := _number(value)) is not None:
        found = number * _SECONDS[unit]
    elif isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
            found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    else:
        return None
    return found if math.isfinite(found) else None
