from __future__ import annotations

import json
from typing import Any

import numpy as np

from jenga.rows.batches import Encoded, EncodedSplit, Source
from jenga.rows.content import CellColumns
from jenga.rows.parse import Rows
from jenga.run.statistics import MAX_LABELS, statistics
from jenga.types import HeadSpace


class Lengths(Encoded):
    unit = "tokens"

    def __init__(self, lengths: list[int], truncated: list[bool] | None = None) -> None:
        self._lengths = np.array(lengths)
        self.truncated = None if truncated is None else np.array(truncated)

    @property
    def lengths(self) -> np.ndarray:
        return self._lengths

    def inputs(self, index: Any) -> Any:
        raise AssertionError("figures need no inputs")


def part(space: HeadSpace, targets: list[int], encoded: Lengths) -> EncodedSplit:
    rows = Rows(ids=[str(at) for at in range(len(targets))], labels={(space.task, space.head): np.array(targets)})
    return EncodedSplit("s", rows, encoded, {(space.task, space.head): space})


def test_lengths_and_labels_are_told_by_split() -> None:
    space = HeadSpace("t", "h", "class", 2, ("no", "yes"))
    splits = {
        "train": part(space, [1, 1, 0, -100], Lengths([5, 9, 7, 7], [False, True, False, False])),
        "valid": part(space, [0], Lengths([3])),
        "test": part(space, [], Lengths([])),
    }
    found = statistics([Source("s", ("t",), splits, CellColumns())])
    train, valid = found["lengths"]
    assert train == {"source": "s", "split": "train", "rows": 4, "unit": "tokens", "min": 5, "median": 7, "p95": 9,
                     "max": 9, "cut": 1}  # fmt: skip
    assert (valid["split"], valid["cut"]) == ("valid", 0)
    assert found["labels"] == [
        {"task": "t", "head": "h", "label": "yes", "counts": {"train": 2, "valid": 0, "test": 0}},
        {"task": "t", "head": "h", "label": "no", "counts": {"train": 1, "valid": 1, "test": 0}},
    ]
    json.dumps(found, allow_nan=False)


def test_of_very_many_labels_the_most_frequent_are_told() -> None:
    space = HeadSpace("t", "h", "class", 500, tuple(f"l{i}" for i in range(500)))
    source = Source("s", ("t",), {"train": part(space, [499] * 3, Lengths([1, 1, 1]))}, CellColumns())
    found = statistics([source])["labels"]
    assert len(found) == MAX_LABELS
    assert (found[0]["label"], found[0]["counts"]) == ("l499", {"train": 3})
