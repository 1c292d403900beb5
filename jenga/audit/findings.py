"""What an audit found: one finding a line of audit.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jenga.errors import ConfigError, DataError, suggest
from jenga.files import write_atomic
from jenga.rows.exclude import ROWS_DIGEST

KINDS = {
    "leak": "a valid or test row that is a training row, too",
    "near_leak": "a valid or test row that is nearly a training row",
    "conflict": "a row that holds the same as another with a different label",
    "duplicate": "a row that stands earlier in the same part, too",
    "near_duplicate": "a row that is nearly an earlier one of the same part",
    "label_error": "a label that all other rows speak against",
    "trigger": "a row whose label hangs on one token, whatever else it says",
    "outlier": "a row far from all others",
    "drift": "valid or test rows that are distributed otherwise than training rows",
}
"""Kinds of findings, and what each is; the order of summaries."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a row, or with a part where `row` is None.

    `file` and `row` (1-based, a line of a text file) name the row as quarantine.jsonl does. `score`: by kind, the
    probability of the label given, the distance of an outlier, the PSI, the flip rate of a trigger, None of twins.
    `worse`: findings of a kind are shown by it, the greatest first. `text`: what a person sees of the row.
    """

    kind: str
    split: str
    file: str | None
    row: int | None
    id: str | None
    task: str | None
    head: str | None
    given: str | None
    suggested: str | None
    score: float | None
    reason: str
    text: str = ""
    worse: float = field(default=0.0, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as audit.jsonl holds it."""
        found = asdict(self)
        del found["worse"]
        return found

    @property
    def place(self) -> str:
        """The row, as ``file:row``; the part where there is none."""
        return self.split if self.row is None else f"{Path(self.file or '').name}:{self.row}"


@dataclass
class Audit:
    """What was found in the rows of an experiment.

    `rows`: how many there are by part. `told`: what was looked at and by what, what was not and why. `bad`: rows that
    cannot be used at all. `digests`: SHA-256 of the rows of each file, by its name.
    """

    project: str
    findings: list[Finding]
    rows: dict[str, int]
    told: list[str]
    bad: int
    seconds: float
    digests: Mapping[str, str]

    def of(self, kind: str) -> list[Finding]:
        """Return the findings of a kind, the worst first."""
        return sorted((each for each in self.findings if each.kind == kind), key=lambda each: -each.worse)

    def share(self, kind: str) -> float:
        """Return the share of all rows that have a finding of a kind; of drift, 0."""
        places = {(each.file, each.row) for each in self.findings if each.kind == kind and each.row is not None}
        return len(places) / max(sum(self.rows.values()), 1)

    def counts(self) -> list[list[str]]:
        """Return header and rows of a table of all kinds."""
        table = [["finding", "findings", "share of rows", "what it is"]]
        for kind, words in KINDS.items():
            found = self.of(kind)
            share = "-" if kind == "drift" else f"{self.share(kind):.2%}"
            table.append([kind.replace("_", " "), f"{len(found):,}", share, words])
        return table

    def write(self, path: Path) -> None:
        """Write audit.jsonl, each line with the digest of the rows among which its row stands."""
        kinds = list(KINDS)
        ordered = sorted(self.findings, key=lambda each: (kinds.index(each.kind), -each.worse))
        content = [each.to_dict() | {ROWS_DIGEST: self.digests.get(each.file or "")} for each in ordered]
        lines = [json.dumps(each, ensure_ascii=False, allow_nan=False) for each in content]
        write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_limits(words: str) -> dict[str, float]:
    """Return the greatest allowed share of rows by kind from ``leak,label_error:0.05``; 0 where none is given.

    Raises ConfigError.
    """
    limits = {}
    for part in filter(None, (each.strip() for each in words.split(","))):
        kind, _, limit = part.partition(":")
        if kind not in KINDS:
            raise ConfigError(
                f"--fail-on: there is no finding '{kind}'{suggest(kind, KINDS)}; there are {', '.join(KINDS)}"
            )
        try:
            limits[kind] = float(limit or 0)
        except ValueError:
            limits[kind] = math.nan
        if not 0 <= limits[kind] <= 1:
            raise ConfigError(f"--fail-on: {part}: '{limit}' is no share of rows, from 0 to 1, such as 0.05")
        if kind == "drift" and limit:
            raise ConfigError(f"--fail-on: {part}: drift is of no rows, and any is too much; write drift alone")
    return limits


def check_limits(found: Audit, limits: dict[str, float]) -> None:
    """Raise DataError where there is more of a kind than its limit; any drift is too much of it."""
    over = [
        f"{len(found.of(kind)):,} of {kind} ({found.share(kind):.2%} of rows; allowed: {limit:.2%})"
        for kind, limit in limits.items()
        if found.share(kind) > limit or (kind == "drift" and found.of(kind))
    ]
    if over:
        raise DataError("--fail-on: " + "; ".join(over))


def by_kind(findings: Sequence[Finding]) -> dict[str, int]:
    """Return how many findings there are of each kind that has some."""
    counts = {kind: sum(each.kind == kind for each in findings) for kind in KINDS}
    return {kind: count for kind, count in counts.items() if count}
