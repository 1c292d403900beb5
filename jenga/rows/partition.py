"""Which rows train, validate and test, over all sources of a run: a row is cut once, whoever reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jenga.errors import DataError
from jenga.rows.parse import Rows
from jenga.rows.raw import RawRows
from jenga.rows.split import TRAIN, cut, part_sizes
from jenga.rows.strings import coded
from jenga.types import IGNORE_INDEX

_NUMBER_BITS = 40
Given = Mapping[str, Sequence[tuple[str, RawRows]]]
"""The files of a source by split: the path as it was given, and what was read there."""


@dataclass(frozen=True)
class Stake:
    """The rows of a source's train files, and the parts that are to be cut from them, `wants`.

    `strata` int64 ``(M,)``: the class of each row, below `n_strata`, or -100 where it has none.
    """

    name: str
    rows: Rows
    strata: np.ndarray
    n_strata: int
    wants: tuple[str, ...]


@dataclass
class Share:
    """What a source gets of its train files: the places of its rows, sorted int64, by part; and what it does not get.

    `parts` has train and what the source wants. `warnings`: a sentence on rows that only other sources may have.
    """

    parts: dict[str, np.ndarray]
    warnings: list[str]


def partition(stakes: Sequence[Stake], fractions: Mapping[str, float], *, seed: int) -> list[Share]:
    """Cut the rows of all `stakes`, so that a row is in the same part for each that has it.

    fractions: of each part that may be wanted. Files that the same sources read are cut together, class by class of
    the first source that has a label of the row. A row that is cut for some source alone is left out of the others:
    it would train what it judges.
    """
    units = _units(stakes)
    names = (TRAIN, *fractions)
    part_of = [np.zeros(len(each), np.int8) for each in units]
    told: list[list[str]] = [[] for _ in stakes]
    for owners, inside in _groups(units):
        wanted = [name for name in fractions if any(name in stakes[owner].wants for owner in owners)]
        own = {owner: units[owner][inside[owner]] for owner in owners}
        population = _distinct(list(own.values()))
        places = {owner: _places_in(population, each) for owner, each in own.items()}
        strata = _strata(len(population), [(stakes[owner], inside[owner], places[owner]) for owner in owners])
        sizes = part_sizes(len(population), {name: fractions[name] for name in wanted})
        parts = cut(strata, sizes, seed=seed)
        for name in wanted:
            judged = [owner for owner in owners if name in stakes[owner].wants]
            held, drawn = (np.zeros(len(population), bool) for _ in range(2))
            for owner in judged:
                held[places[owner]] = True
            drawn[parts[name]] = held[parts[name]]
            for owner in owners:
                mine = np.flatnonzero(inside[owner])[drawn[places[owner]]]
                part_of[owner][mine] = names.index(name)
                if owner not in judged and len(mine):
                    others = [stakes[other].name for other in judged]
                    told[owner].append(_left_out(stakes[owner], mine, name, others))
    return [
        Share({name: np.flatnonzero(part == names.index(name)) for name in (TRAIN, *stake.wants)}, warnings)
        for stake, part, warnings in zip(stakes, part_of, told, strict=True)
    ]


def check_roles(names: Sequence[str], given: Sequence[Given]) -> list[list[str]]:
    """Return, for each source, warnings of rows that it is given twice.

    Raises DataError, which names files and sources, where rows train one source and are given to judge another.
    """
    trains: dict[str, list[tuple[int, str]]] = {}
    for source, splits in enumerate(given):
        for path, raw in splits[TRAIN]:
            trains.setdefault(raw.file, []).append((source, path))
    problems = []
    for source, splits in enumerate(given):
        for split, files in splits.items():
            for path, raw in files if split != TRAIN else ():
                for other, trained in trains.get(raw.file, ()):
                    if other != source:
                        problems.append(
                            f"{_same(trained, path)} train {names[other]} and are given as {split} rows of "
                            f"{names[source]}"
                        )
    if problems:
        fix = (
            "A row that judges one task must not train another: give every task the same {train, valid, test}, or the "
            "file alone, which is then cut alike for all"
        )
        raise DataError("\n".join([*dict.fromkeys(problems), fix]))
    return [[*_twice(name, splits)] for name, splits in zip(names, given, strict=True)]


def _twice(name: str, splits: Given) -> Iterator[str]:
    for split, files in splits.items():
        first: dict[str, str] = {}
        for path, raw in files:
            if raw.file in first:
                yield f"{name}: {_same(first[raw.file], path)} are given twice as {split} rows, and count twice"
            first.setdefault(raw.file, path)


def _same(path: str, other: str) -> str:
    return f"the rows of {path}" if path == other else f"the rows of {path}, which are those of {other},"


def _units(stakes: Sequence[Stake]) -> list[np.ndarray]:
    """Return a number of each row, int64 ``(M,)``: equal for the same row of the same file, in the order of both."""
    codes: dict[str, int] = {}
    return [
        coded(stake.rows.files, codes) << _NUMBER_BITS | np.asarray(stake.rows.numbers, np.int64) for stake in stakes
    ]


def _groups(units: Sequence[np.ndarray]) -> Iterator[tuple[list[int], dict[int, np.ndarray]]]:
    """Yield the sources that read some files and no others do, and which of their rows, bool (M,), stand in these."""
    files = [each >> _NUMBER_BITS for each in units]
    owners: dict[int, list[int]] = {}
    for source, each in enumerate(files):
        for file in np.flatnonzero(np.bincount(each)).tolist():
            owners.setdefault(file, []).append(source)
    for group in dict.fromkeys(map(tuple, owners.values())):
        own = [file for file, sources in owners.items() if tuple(sources) == group]
        yield list(group), {source: np.isin(files[source], own) for source in group}


def _distinct(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return all numbers in `parts`, each once, ascending."""
    first, *others = parts
    if not others and (np.diff(first) > 0).all():  # as those of a file's rows are
        return first
    return np.unique(np.concatenate(parts))


def _places_in(population: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return where `units` stand in `population`, which ascends and has them all."""
    return np.arange(len(units)) if units is population else np.searchsorted(population, units)


def _strata(count: int, owners: Sequence[tuple[Stake, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the class of each of `count` units, int64; those of a later source stand behind those of an earlier one.

    owners: each with which of its rows are there, bool (M,), and the units that these are.
    """
    strata = np.full(count, IGNORE_INDEX, np.int64)
    begin = 0
    for stake, inside, at in owners:
        own = stake.strata[inside]
        fresh = (strata[at] == IGNORE_INDEX) & (own != IGNORE_INDEX)
        strata[at[fresh]] = begin + own[fresh]
        begin += stake.n_strata
    return strata


def _left_out(stake: Stake, rows: np.ndarray, part: str, others: Sequence[str]) -> str:
    files = ", ".join(dict.fromkeys(stake.rows.files[row] for row in rows))
    return (
        f"{stake.name}: {len(rows)} rows of {files} are {part} rows of {', '.join(others)} and do not train it; give "
        "all of them the same {train, valid, test} to choose which rows do"
    )
