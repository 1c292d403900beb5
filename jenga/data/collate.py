"""Rows and what a backbone reads of them, as batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from jenga.data.rows import Rows
from jenga.data.tabular import Features
from jenga.data.text import EncodedText
from jenga.labels import kind_named
from jenga.types import Batch, HeadSpace


@dataclass
class EncodedSplit:
    """The rows of one split of one source with their tokens or features, from which batches are made.

    `pad_token_id` is of tokens only. `teacher`: by (task, head), called with rows and the width T of their tokens,
    returns what a teacher says of them.
    """

    source: str
    rows: Rows
    encoded: EncodedText | Features
    spaces: Mapping[tuple[str, str], HeadSpace]
    pad_token_id: int = 0
    teacher: dict[tuple[str, str], Callable[[Sequence[int], int], Any]] = field(default_factory=dict)
    _targets: dict[tuple[str, str], Callable[[Sequence[int]], torch.Tensor]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        tokens = self.encoded if isinstance(self.encoded, EncodedText) else None
        for key, space in self.spaces.items():
            if key in self.rows.labels:
                self._targets[key] = kind_named(space.kind).batches(self.rows.labels[key], tokens)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (M,)."""
        return self.encoded.lengths

    @property
    def text(self) -> EncodedText:
        """The tokens of rows that are text."""
        assert isinstance(self.encoded, EncodedText)
        return self.encoded

    def batch(self, index: Sequence[int]) -> Batch:
        """Return the rows at `index`; tokens are padded on the right to the longest of them."""
        index = list(index)
        if isinstance(self.encoded, Features):
            inputs = self.encoded.inputs(index)
        else:
            inputs = self.encoded.inputs(index, self.pad_token_id)
        labels: dict[str, dict[str, torch.Tensor]] = {}
        for (task, head), targets in self._targets.items():
            labels.setdefault(task, {})[head] = targets(index)
        teacher: dict[str, dict[str, Any]] = {}
        for (task, head), said in self.teacher.items():
            teacher.setdefault(task, {})[head] = said(index, next(iter(inputs.values())).shape[1])
        return Batch(inputs, labels, [self.rows.ids[i] for i in index], self.source, index, teacher)


@dataclass
class Source:
    """Rows that several tasks read: encoded once a batch, whatever the number of tasks."""

    name: str
    tasks: tuple[str, ...]
    splits: dict[str, EncodedSplit]
