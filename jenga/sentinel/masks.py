"""Labels of a batch taken away, and rows of a split left out, so that they teach nothing."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import torch

from jenga.rows.batches import EncodedSplit, rows_of_all
from jenga.sentinel.ledger import Cells
from jenga.types import IGNORE_INDEX, Batch


def rows_aside(split: EncodedSplit, cells: Cells, unlabelled: Collection[str]) -> frozenset[int]:
    """Return the entries of `split` whose rows are set aside in whole.

    Taking their labels away would not do: a teacher, a reconstruction or a language model learns from rows without
    any. unlabelled: tasks that do; a row that has lost its label of one of them is set aside in whole, too, as it would
    teach that it is normal.
    """
    gone = {
        row for row, name in enumerate(split.rows.ids if cells else ())
        if any(cell is None or cell[0] in unlabelled for cell in cells.get(name, ()))
    }  # fmt: skip
    return frozenset(np.flatnonzero(np.isin(rows_of_all(split), list(gone))).tolist() if gone else ())


def mask(batch: Batch, cells: Cells) -> bool:
    """Take the labels in `cells` from `batch`, without those of whole rows; return whether there were any."""
    found = False
    for place, row in enumerate(batch.sample_ids):
        for cell in cells.get(row, ()):
            if cell is None or cell[1] not in batch.labels.get(cell[0], {}):
                continue
            heads = batch.labels[cell[0]]
            heads[cell[1]] = without(heads[cell[1]], place)
            found = True
    return found


def without(labels: torch.Tensor, place: int) -> torch.Tensor:
    """Return `labels` with those of the entry at `place` missing, as its kind has it: -100, NaN of numbers."""
    changed = labels.clone()
    changed[place] = math.nan if labels.is_floating_point() else IGNORE_INDEX
    return changed
