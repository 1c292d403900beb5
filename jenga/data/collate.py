"""Rows and their tokens as batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from jenga.data.rows import Rows
from jenga.data.text import EncodedText
from jenga.types import IGNORE_INDEX, Batch, HeadSpace


@dataclass
class EncodedSplit:
    """The rows of one split of one source with their tokens, from which batches are made."""

    source: str
    rows: Rows
    encoded: EncodedText
    spaces: Mapping[tuple[str, str], HeadSpace]
    pad_token_id: int
    _token_tags: dict[tuple[str, str], np.ndarray] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for key, space in self.spaces.items():
            if space.kind == "tags" and key in self.rows.labels:
                self._token_tags[key] = self._spread(self.rows.labels[key])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (M,)."""
        return self.encoded.lengths

    def batch(self, index: Sequence[int]) -> Batch:
        """Return the rows at `index`, padded on the right to the longest of them."""
        index = list(index)
        inputs = {"input_ids": self._pad(self.encoded.input_ids, index, self.pad_token_id)}
        lengths = torch.from_numpy(self.lengths[index])
        width = inputs["input_ids"].shape[1]
        inputs["attention_mask"] = (torch.arange(width) < lengths.unsqueeze(1)).long()
        if self.encoded.type_ids is not None:
            inputs["token_type_ids"] = self._pad(self.encoded.type_ids, index, 0)
        labels: dict[str, dict[str, torch.Tensor]] = {}
        for key in self.spaces:
            if key in self.rows.labels:
                task, head = key
                tags = self._token_tags.get(key)
                labels.setdefault(task, {})[head] = (
                    torch.from_numpy(self.rows.labels[key][index])
                    if tags is None
                    else self._pad(tags, index, IGNORE_INDEX)
                )
        return Batch(inputs, labels, [self.rows.ids[i] for i in index], self.source, index)

    def _pad(self, flat: np.ndarray, index: Sequence[int], fill: int) -> torch.Tensor:
        offsets = self.encoded.offsets
        starts = offsets[index]
        lengths = offsets[np.asarray(index) + 1] - starts
        padded = np.full((len(index), int(lengths.max(initial=0))), fill, np.int64)
        for row, start, length in zip(padded, starts, lengths, strict=True):
            row[:length] = flat[start : start + length]
        return torch.from_numpy(padded)

    def _spread(self, tags: Sequence[np.ndarray]) -> np.ndarray:
        """Put each word's tag on its first token; every other token is ignored."""
        spread = np.full(len(self.encoded.input_ids), IGNORE_INDEX, np.int64)
        for row, row_tags in enumerate(tags):
            tokens = self.encoded.words(row)
            kept = tokens >= 0
            spread[self.encoded.offsets[row] + tokens[kept]] = row_tags[kept]
        return spread


@dataclass
class Source:
    """Rows that several tasks read: encoded once a batch, whatever the number of tasks."""

    name: str
    tasks: tuple[str, ...]
    splits: dict[str, EncodedSplit]
