"""Labels of a batch taken away, so that its rows teach nothing of them."""

from __future__ import annotations

import math

import torch

from jenga.sentinel.ledger import Cells
from jenga.types import IGNORE_INDEX, Batch


def mask(batch: Batch, cells: Cells) -> bool:
    """Take the labels in `cells` from `batch`; return whether there were any."""
    found = False
    for place, row in enumerate(batch.sample_ids):
        for cell in cells.get(row, ()):
            for task, heads in batch.labels.items():
                for head, labels in heads.items():
                    if cell is None or cell == (task, head):
                        heads[head] = without(labels, place)
                        found = True
    return found


def has_labels(batch: Batch) -> bool:
    """Return whether any label of `batch` is left."""
    tensors = (each for heads in batch.labels.values() for each in heads.values())
    return any(bool((~each.isnan() if each.is_floating_point() else each != IGNORE_INDEX).any()) for each in tensors)


def without(labels: torch.Tensor, place: int) -> torch.Tensor:
    """Return `labels` with those of the entry at `place` missing, as its kind has it: -100, NaN of numbers."""
    changed = labels.clone()
    changed[place] = math.nan if labels.is_floating_point() else IGNORE_INDEX
    return changed
