"""Cutting rows into parts, class by class, and finding rows that stand in two parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from heapq import nsmallest

import numpy as np

from jenga.rows.strings import hashed

TRAIN = "train"
_MANY = 100_000
"""Rows of which it is better to hold a number each than what they hold."""


def part_sizes(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Return the rows of each part: its fraction of `total`, rounded half up, at least 1 where `total` allows it."""
    sizes: dict[str, int] = {}
    left = total - 1
    for name, fraction in fractions.items():
        sizes[name] = min(max(int(total * fraction + 0.5), 1), max(left, 0)) if fraction else 0
        left -= sizes[name]
    return sizes


def cut(strata: np.ndarray, sizes: Mapping[str, int], *, seed: int) -> dict[str, np.ndarray]:
    """Cut rows into the parts of `sizes` and ``train``, which takes the rest.

    `strata`: int64 ``(M,)``, the class of each row. Each part gets its share of each class, to within one row; a class
    keeps a row in ``train`` as long as the sizes can be met otherwise. Returns sorted row numbers, int64, each row in
    exactly one part; the same for the same arguments on any machine.
    """
    if sum(sizes.values()) > len(strata):
        raise ValueError(f"parts of {dict(sizes)} rows do not fit into {len(strata)} rows")
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(strata))
    _, classes = np.unique(strata, return_inverse=True)
    members = [shuffled[classes[shuffled] == each] for each in range(classes.max(initial=-1) + 1)]
    left = np.array([len(rows) for rows in members], dtype=np.int64)
    parts: dict[str, list[np.ndarray]] = {TRAIN: [], **{name: [] for name in sizes}}
    for name, size in sizes.items():
        take = _shares(left, size, generator)
        for each in np.flatnonzero(take):
            parts[name].append(members[each][left[each] - take[each] : left[each]])
        left = left - take
    parts[TRAIN] = [rows[:count] for rows, count in zip(members, left, strict=True)]
    return {name: np.sort(np.concatenate([np.empty(0, np.int64), *rows])) for name, rows in parts.items()}


def _shares(left: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Return how many of the `left` rows of each class make up `size` rows, by largest remainder."""
    exact = left * size / max(left.sum(), 1)
    take: np.ndarray = np.minimum(np.floor(exact + 1e-9).astype(np.int64), np.maximum(left - 1, 0))
    # Ties fall at random, lest the classes that come first alphabetically fill every small part.
    order = np.lexsort((generator.random(len(left)), take - exact))
    for kept_in_train in (1, 0):
        while take.sum() < size:
            open_classes = [each for each in order if left[each] - take[each] > kept_in_train]
            if not open_classes:
                break
            take[open_classes[: size - take.sum()]] += 1
    return take


def shared_with(train: Sequence[Hashable]) -> Callable[[Sequence[Hashable]], int]:
    """Return what counts the values that stand among those of the training rows too."""
    if len(train) <= _MANY:
        known = set(train)
        return lambda other: sum(value in known for value in other)
    numbers = np.sort(hashed(train))

    def shared(other: Sequence[Hashable]) -> int:
        own = hashed(other)
        places = np.searchsorted(numbers, own).clip(max=len(numbers) - 1)
        return int((numbers[places] == own).sum())

    return shared


def leak_warning(shared: int, count: int, *, split: str, source: str, what: str = "a text that is") -> str | None:
    """Return a warning when `shared` of the `count` rows of `split` stand in the training rows too, else None.

    `what` is shared, in words.
    """
    if not shared:
        return None
    return (
        f"{source}: {shared} of {count} {split} rows have {what} in the training rows too; "
        f"{split} scores flatter the model"
    )


def duplicate_warning(rows: int, twice: Collection[str], *, split: str, source: str) -> str | None:
    """Return a warning when `rows` rows of `split` share the ids `twice`, else None."""
    if not twice:
        return None
    shown = ", ".join(nsmallest(5, twice))
    return f"{source}: {rows} {split} rows share {len(twice)} ids ({shown}); predictions by id are ambiguous"
