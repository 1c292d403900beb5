"""What the refinery hands back: features, the state of each value, counts, and what was set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jenga.refinery.statistics import NUMBER_KINDS, PRESENT, RawBlock

if TYPE_CHECKING:
    import torch

    from jenga.refinery.quarantine import QuarantineRecord

STATES = ("present", "absent", "null", "mismatch", "overflow", "unknown")
"""Names of a value's states, by number."""
COUNTS = (*STATES, "coerced", "duplicate")
"""Names of the columns of `Counters.counts`."""


@dataclass(frozen=True)
class Counters:
    """How often a field's value was in each state. `counts` int64 ``(n_fields, 8)``, columns as in `COUNTS`."""

    paths: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def zero(cls, paths: Sequence[str]) -> Counters:
        """Return counters that have counted nothing."""
        return cls(tuple(paths), np.zeros((len(paths), len(COUNTS)), np.int64))

    def __add__(self, other: Counters) -> Counters:
        return Counters(self.paths, self.counts + other.counts)

    def __getitem__(self, path: str) -> dict[str, int]:
        """Return the counts of one field by name. Raises KeyError for a path that is no field."""
        if path not in self.paths:
            raise KeyError(path)
        return dict(zip(COUNTS, self.counts[self.paths.index(path)].tolist(), strict=True))

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Return the counts of every field."""
        return {path: self[path] for path in self.paths}


@dataclass(frozen=True)
class Refined:
    """Rows as features.

    `features` float32 ``(M, F)``; `states` uint8 ``(M, n_fields)``, see `STATES`; `numbers` int64 ``(M,)``, the line,
    element or position of each row that was kept, from 1; `quarantine`, the rows that were not; `histories` float64
    ``(M, H)``, what the H fields of kind history tell of the rows, NaN for nothing, None where there are none.
    """

    features: NDArray[np.float32] | torch.Tensor
    states: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    counters: Counters
    quarantine: list[QuarantineRecord]
    n_blank: int
    histories: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class RawColumns:
    """The typed values of fields before any scaling or encoding.

    `block` holds them, see `RawBlock`; `counters`, whose categories are all known yet; `row_numbers` int64 ``(M,)``,
    as in `Refined`.
    """

    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    block: RawBlock
    counters: Counters
    row_numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return self.block.n_rows

    def values(self, path: str) -> list[float | bytes | None]:
        """Return a field's values: numbers (timestamps in seconds) or texts, None where missing.

        Raises KeyError for a path that is no field.
        """
        if path not in self.paths:
            raise KeyError(path)
        at = self.paths.index(path)
        present = self.block.states[:, at] == PRESENT
        is_number = self.kinds[at] in NUMBER_KINDS
        slot = sum((kind in NUMBER_KINDS) == is_number for kind in self.kinds[:at])
        if is_number:
            found = iter(self.block.numbers[present, slot].tolist())
        else:
            found = iter(self.block.texts(slot, present).to_pylist())
        return [next(found) if here else None for here in present.tolist()]
