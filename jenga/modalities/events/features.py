"""Features of events, lined up with their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from jenga.rows.batches import FEATURES, Encoded
from jenga.rows.parse import Rows
from jenga.rows.raw import BadRow, RawRows


@dataclass
class Features(Encoded):
    """The features of M rows, float32 ``(M, F)``; every row takes one step of the encoder, so all are equally long."""

    unit: ClassVar[str] = "features"

    features: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row: one, int64 (M,)."""
        return np.ones(len(self), np.int64)

    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return ``features (B, F)`` of the rows at `index`."""
        return {FEATURES: torch.from_numpy(self.features[np.asarray(index, np.int64)])}


@dataclass
class RefinedFile:
    """The features of one file's events, and which of them the refinery kept.

    `numbers` int64 ``(N,)``: the line or row of each kept event; `features` float32 ``(N, F)``. `warnings`: fields that
    these events lack or hold otherwise than the training rows.
    """

    numbers: np.ndarray
    features: np.ndarray
    bad: list[BadRow]
    warnings: list[str]

    def of(self, piece: RawRows) -> RefinedFile:
        """Return what belongs to the rows of `piece`, which follow one another in the file; without warnings."""
        numbers = [*piece.numbers, *(bad.number for bad in piece.bad)]
        first, last = (min(numbers), max(numbers)) if numbers else (0, -1)
        at = slice(*np.searchsorted(self.numbers, [first, last + 1]).tolist())
        bad = [each for each in self.bad if first <= each.number <= last]
        return RefinedFile(self.numbers[at], self.features[at], bad, [])


def features_of(rows: Rows, files: Mapping[str, RefinedFile]) -> tuple[Rows, Features]:
    """Return the rows that the refinery kept, with their features. `files`: by name, as in `Rows.files`."""
    numbers = np.asarray(rows.numbers, np.int64)
    if len(files) == 1:
        (refined,) = files.values()
        at, kept = _places_of(numbers, refined.numbers)
        return rows.take(np.flatnonzero(kept)), Features(_rows_at(refined.features, at[kept]))
    names = np.asarray(rows.files, dtype=object)
    kept = np.zeros(len(rows), bool)
    width = next(iter(files.values())).features.shape[1]
    features = np.zeros((len(rows), width), np.float32)
    for name, refined in files.items():
        here = np.flatnonzero(names == name)
        at, there = _places_of(numbers[here], refined.numbers)
        kept[here[there]] = True
        features[here[there]] = refined.features[at[there]]
    index = np.flatnonzero(kept)
    return rows.take(index), Features(features[index])


def _places_of(numbers: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of `numbers` would stand in `known`, which ascends, and whether it does."""
    at = np.searchsorted(known, numbers)
    there = at < len(known)
    there[there] = known[at[there]] == numbers[there]
    return at, there


def _rows_at(features: np.ndarray, at: Any) -> np.ndarray:
    """Return the rows at `at`, without a copy where they lie side by side."""
    if len(at) and (np.diff(at) == 1).all():
        at = slice(at[0], at[-1] + 1)
    found: np.ndarray = features[at]
    return found
