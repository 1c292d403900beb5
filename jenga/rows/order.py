"""Orders of millions of rows, and sequences of what is made of them, that take no memory for an item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

import numpy as np

Item = TypeVar("Item")


class OnDemand(Sequence[Item], Generic[Item]):
    """A sequence of what `make` returns of each of `numbers`, made anew each time that it is asked for.

    A slice is made on demand, too. It equals any sequence of the same items.
    """

    def __init__(self, make: Callable[[int], Item], numbers: range) -> None:
        self.make, self.numbers = make, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> Item: ...

    @overload
    def __getitem__(self, at: slice) -> OnDemand[Item]: ...

    def __getitem__(self, at: int | slice) -> Item | OnDemand[Item]:
        if isinstance(at, slice):
            return OnDemand(self.make, self.numbers[at])
        return self.make(self.numbers[at])

    def __iter__(self) -> Iterator[Item]:
        return map(self.make, self.numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def permutation(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return what ``rng.permutation(count)`` does, of half the size where int32 holds it."""
    found = np.arange(count, dtype=smallest(count))
    rng.shuffle(found)
    return found


def longest_first(lengths: np.ndarray, size: int) -> OnDemand[list[int]]:
    """Return the rows of each batch of at most `size`, those of the greatest `lengths` first."""
    order = np.argsort(lengths, kind="stable")[::-1].astype(smallest(len(lengths)))
    return OnDemand(lambda start: order[start : start + size].tolist(), range(0, len(order), size))


def smallest(count: int) -> type[np.signedinteger]:
    """Return the type of `count` places: int32 where it holds them."""
    return np.int32 if count <= np.iinfo(np.int32).max else np.int64
