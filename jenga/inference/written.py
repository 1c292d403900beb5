"""Answers written out, and what is counted of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from jenga.inference.reading import ASIDE
from jenga.kernels.json_lines import json_lines

ROWS_AT_ONCE = 1024
"""Answers that are written at once."""


@dataclass
class Written:
    """Answers as JSON Lines. `rows`: how many; `unusable`: those with an error; `failed`: those without any answer.

    `seen`: each row with its answer, where a policy is to see them.
    """

    text: bytes
    rows: int
    unusable: int
    failed: int
    seen: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)

    @classmethod
    def of(cls, answers: list[dict[str, Any]], tasks: frozenset[str]) -> Written:
        """Return `answers` of a model with these `tasks`, written out."""
        refused = [row for row in answers if "error" in row]
        return cls(json_lines(answers), len(answers), len(refused), sum(map(tasks.isdisjoint, refused)))


def written(answers: Iterable[dict[str, Any]], tasks: frozenset[str], *, whole: bool) -> Iterator[Written]:
    """Yield `answers`, some at a time, written out; whole: each carries its row (see `Predictor.session`)."""
    rest = iter(answers)
    while some := list(islice(rest, ROWS_AT_ONCE)):
        events = [row.pop(ASIDE, {}) for row in some] if whole else []
        found = Written.of(some, tasks)
        found.seen = list(zip(events, some, strict=True)) if whole else []
        yield found
