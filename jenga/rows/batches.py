"""Rows and what a backbone reads of them, as batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from jenga.labels import kind_named
from jenga.labels.base import Tokens
from jenga.rows.content import ContentSpec
from jenga.rows.parse import Rows, SourceSpec, Spaces
from jenga.rows.raw import BadRow, RawRows
from jenga.types import SHARED, Batch, HeadSpace

Key = tuple[str, str]
FEATURES = "features"
"""What ``forward`` calls rows that are read as one vector each."""
_ENTRIES_AT_ONCE = 1 << 14


class Encoded(ABC):
    """The rows of one split of one source as a backbone reads them, of which batches are made.

    It may be lazy: what is large is decoded when a batch is made of it. `unit`: what an entry is made of. `in_tokens`:
    whether `lengths` are tokens, by which steps may be planned. `features`: float32 ``(M, F)``, where a row is read as
    that one vector; None elsewhere. `truncated`: which rows, bool ``(M,)``, were not read to their end; None where all
    were.
    """

    unit: ClassVar[str] = "values"
    in_tokens: ClassVar[bool] = False
    features: np.ndarray | None = None
    truncated: np.ndarray | None = None

    @property
    def packed(self) -> bool:
        """Whether an entry may hold several rows, which do not see one another."""
        return False

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """What each entry of a batch costs, int64, such as its tokens: entries of like cost share a batch."""

    @abstractmethod
    def inputs(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return what the backbone's ``forward`` takes of the entries at `index`, by the name of its parameter."""

    def changed(self, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return `inputs` as training shows them, changed a little, each time anew; default: as they are.

        All is drawn from `generator`, which a seed, the epoch and the rows decide: another process may do this.
        """
        return inputs

    def __len__(self) -> int:
        return len(self.lengths)

    def extent(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """Return how many units each entry of a batch has, the longest one's."""
        return next(iter(inputs.values())).shape[1]

    def rows_of(self, index: Sequence[int]) -> list[int]:
        """Return the rows that the entries at `index` are of, or begin with; default: entries are rows."""
        return list(index)

    @property
    def tokens(self) -> Tokens | None:
        """The tokens on which labels of words are laid; None where there are none."""
        return None

    def next_tokens(self, index: Sequence[int]) -> torch.Tensor:
        """Return the token to predict behind each token of the entries at `index`, int64 ``(B, T)``, -100 for none.

        Raises TypeError where nothing is predicted.
        """
        raise TypeError(f"{type(self).__name__} has no tokens to predict")


@dataclass
class EncodedSplit:
    """The rows of one split of one source as a backbone reads them, with their labels.

    `teacher`: by (task, head), called with the entries of a batch and the width T of their tokens, returns what a
    teacher says of them. `left_out`: entries that training learns nothing from, as a callback said of them; turns,
    passes over the training rows and memories go without them.
    """

    source: str
    rows: Rows
    encoded: Encoded
    spaces: Mapping[Key, HeadSpace]
    teacher: dict[Key, Callable[[Sequence[int], int], Any]] = field(default_factory=dict)
    left_out: frozenset[int] = frozenset()
    _targets: dict[Key, Callable[[Sequence[int]], torch.Tensor]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for key, space in self.spaces.items():
            kind = kind_named(space.kind)
            if kind.from_text or key in self.rows.labels:
                self._targets[key] = kind.batches(self.rows.labels.get(key), self.encoded)

    def __len__(self) -> int:
        return len(self.encoded)

    @cached_property
    def lengths(self) -> np.ndarray:
        """What each entry of a batch costs, int64; kept, as each batch is cut by it."""
        return self.encoded.lengths

    @property
    def learnt(self) -> np.ndarray:
        """The entries that training learns from, int64, ascending."""
        return np.delete(np.arange(len(self)), list(self.left_out))

    def batch(self, index: Sequence[int], *, changes: torch.Generator | None = None) -> Batch:
        """Return the entries at `index`, with their labels and what a teacher says of them.

        changes: what changes of training rows are drawn from; None: rows as they are.
        """
        index = list(index)
        inputs = self.encoded.inputs(index)
        if changes is not None:
            inputs = self.encoded.changed(inputs, changes)
        labels: dict[str, dict[str, torch.Tensor]] = {}
        for (task, head), targets in self._targets.items():
            labels.setdefault(task, {})[head] = targets(index)
        teacher: dict[str, dict[str, Any]] = {}
        for (task, head), said in self.teacher.items():
            teacher.setdefault(task, {})[head] = said(index, self.encoded.extent(inputs))
        ids = [self.rows.ids[row] for row in self.encoded.rows_of(index)]
        return Batch(inputs, labels, ids, self.source, index, teacher)


def rows_of_all(split: EncodedSplit) -> np.ndarray:
    """Return the row that each entry of `split` is of, or begins with, int64."""
    found = np.empty(len(split), np.int64)
    for start in range(0, len(split), _ENTRIES_AT_ONCE):
        some = range(start, min(start + _ENTRIES_AT_ONCE, len(split)))
        found[some.start : some.stop] = split.encoded.rows_of(some)
    return found


@dataclass
class Source:
    """Rows that several tasks read: encoded once a batch, whatever the number of tasks.

    `content`: how what is encoded was read. `encoder`: the name of that one of the model's encoders that reads them.
    `stream`: the training rows as they come, where those of the split are only the first of them.
    """

    name: str
    tasks: tuple[str, ...]
    splits: dict[str, EncodedSplit]
    content: ContentSpec
    encoder: str = SHARED
    stream: EncodedSplit | None = None


@dataclass(frozen=True)
class RowEncoder:
    """Encodes rows of some files, or of one call; `bad` of their rows cannot be encoded, as far as that is known.

    `encode`: called with parsed rows, how they are read, and the label spaces to judge them by (none: {}). `piece`:
    of what was made of all rows beforehand, gives that of some rows to other processes; None where nothing was.
    """

    encode: Callable[[Rows, SourceSpec, Spaces], EncodedSplit]
    bad: list[BadRow]
    piece: Callable[[RawRows], RowEncoder] | None = None
