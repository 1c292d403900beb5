"""What a fitted state knows of each field, in plain data and in words."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from dataclasses import field as attribute
from typing import TYPE_CHECKING, Any

import numpy as np

from jenga.refinery.result import STATES
from jenga.refinery.sketches import TokenCounts
from jenga.refinery.statistics import FieldStatistics

if TYPE_CHECKING:
    from jenga.refinery.estimator import SecurityRefinery

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
N_SHOWN = 5


@dataclass(frozen=True)
class FieldDescription:
    """One field of a fitted state.

    `columns`: how many it makes; `states`: rows by state; `quantiles`: of its numbers (of text: lengths in bytes, of
    timestamps: seconds between rows) at `QUANTILES`; `n_values`: different values, None where they are not kept;
    `most_frequent`: up to five with their counts; `known`: how many have a column (or a frequency) of their own.
    """

    field: str
    kind: str
    columns: int
    missing_rate: float
    states: dict[str, int]
    words: str
    quantiles: dict[str, float] = attribute(default_factory=dict)
    n_values: int | None = None
    most_frequent: dict[str, int] = attribute(default_factory=dict)
    known: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON can hold it."""
        return asdict(self)


def describe(refinery: SecurityRefinery) -> list[FieldDescription]:
    """Return what a fitted refinery knows of each of its fields, in their order."""
    columns = Counter(refinery.feature_sources_)
    entries = json.loads(refinery.plan_)["fields"]
    return [
        _describe(known, columns[known.field.path], entry)
        for known, entry in zip(refinery.statistics_.fields, entries, strict=True)
    ]


def _describe(known: FieldStatistics, columns: int, entry: dict[str, Any]) -> FieldDescription:
    details: dict[str, Any] = {}
    words = ""
    if isinstance(known.tokens, TokenCounts):
        counts = known.tokens.counts
        top = sorted(counts, key=lambda token: (-counts[token], token))[:N_SHOWN]
        details["n_values"], details["known"] = len(counts), len(entry["values"])
        details["most_frequent"] = {token.decode(errors="replace"): counts[token] for token in top}
        listed = ", ".join(details["most_frequent"])
        words = f"{len(counts):,}: {listed}{', ...' if len(counts) > N_SHOWN else ''}"
    elif known.numbers is not None and len(known.numbers.values):
        found = known.numbers.quantiles(np.array(QUANTILES)).tolist()
        details["quantiles"] = {f"{share:g}": value for share, value in zip(QUANTILES, found, strict=True)}
        words = f"{_NUMBERS.get(known.field.kind, '')}{found[0]:g} .. {found[3]:g} .. {found[-1]:g}"
    states = dict(zip(STATES, known.states.tolist(), strict=True))
    return FieldDescription(known.field.path, known.field.kind, columns, known.missing_rate, states, words, **details)


_NUMBERS = {"text": "bytes: ", "timestamp": "seconds between rows: "}
