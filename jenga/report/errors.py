"""errors.json: which rows of each split a run answers wrongly, so that runs on the same rows are compared row by row.

``{split: {task: {head: {"rows", "wrong": {"at", "sizes"}}}}}``: places of rows in the split, and how wrong each is.
Heads whose answers are not right or wrong, but off by some distance, are not in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jenga.errors import DataError
from jenga.files import json_object, write_atomic

FILE = "errors.json"
Splits = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]


@dataclass(frozen=True)
class Paired:
    """Two runs on the same rows: how many rows only the first answers rightly, and only the second.

    `p`: of McNemar's exact test, that so uneven a pair of numbers comes by chance.
    """

    first: int
    second: int
    p: float


def write_errors(run: Path, splits: Splits) -> None:
    """Write the file."""
    write_atomic(run / FILE, json.dumps(splits, ensure_ascii=False, separators=(",", ":")) + "\n")


def read_errors(run: Path) -> dict[str, Any]:
    """Return the content of the file, {} where the run has none. Raises DataError where it is harmed."""
    try:
        return json_object(run / FILE)
    except OSError:
        return {}
    except ValueError as error:
        raise DataError(str(error)) from None


def paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> Paired | None:
    """Return how two runs differ on the rows of one head; None where they were not judged on as many."""
    if first["rows"] != second["rows"]:
        return None
    ours, theirs = (set(each["wrong"]["at"]) for each in (first, second))
    better, worse = len(theirs - ours), len(ours - theirs)
    return Paired(better, worse, mcnemar(better, worse))


def mcnemar(first: int, second: int) -> float:
    """Return the two-sided p of the exact test: how likely coins fall so unevenly (McNemar 1947; binomial)."""
    throws, fewer = first + second, min(first, second)
    if not throws:
        return 1.0
    base = math.lgamma(throws + 1) - throws * math.log(2)
    tail = math.fsum(
        math.exp(base - math.lgamma(heads + 1) - math.lgamma(throws - heads + 1)) for heads in range(fewer + 1)
    )
    return min(1.0, 2 * tail)
