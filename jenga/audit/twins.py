"""Rows that say the same as others: duplicates, leaks and contradictions."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from jenga.audit.findings import Finding
from jenga.audit.pool import Pool
from jenga.detectors.duplicates import Twins, exact_twins, near_twins, normalised
from jenga.rows.split import TRAIN


def twins(pool: Pool) -> tuple[list[Finding], list[str]]:
    """Return what is wrong with rows that say the same, and what was not looked at."""
    keys = _keys(pool)
    if not keys:
        return [], [f"{pool.source.name}: duplicates and leaks were not looked for: what rows hold is not known"]
    exact = exact_twins(keys)
    found = [*_conflicts(pool, exact), *_repeats(pool, exact, "", np.ones(len(keys), bool))]
    if not len(pool.rows.content.texts):
        return found, [f"{pool.source.name}: near duplicates were not looked for: rows are no texts"]
    firsts = exact.groups == np.arange(len(keys))
    near = near_twins([_text(key) for key in keys])
    # What is the same exactly has been told already.
    return [*found, *_repeats(pool, near, "near_", firsts)], []


def _keys(pool: Pool) -> Sequence[Hashable]:
    keys = pool.rows.content.keys()
    if len(keys):
        return [normalised(key) for key in keys]
    features = pool.features
    return [] if features is None else [row.tobytes() for row in np.ascontiguousarray(features)]


def _text(key: Hashable) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return "\n".join(dict.fromkeys(map(str, parts)))


def _groups(found: Twins, among: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows `among` of each group that has several, the first first."""
    rows = np.flatnonzero(found.several & among)
    order = rows[np.argsort(found.groups[rows], kind="stable")]
    for group in np.split(order, np.flatnonzero(np.diff(found.groups[order])) + 1):
        if len(group) > 1:
            yield group


def _repeats(pool: Pool, found: Twins, prefix: str, among: np.ndarray) -> Iterator[Finding]:
    words = "nearly the same as" if prefix else "the same as"
    for group in _groups(found, among):
        parts = pool.parts[group]
        for name in dict.fromkeys(parts.tolist()):
            own = group[parts == name]
            trained = group[parts == TRAIN]
            if name != TRAIN and len(trained):
                for row in own.tolist():
                    reason = f"{words} the training row {pool.place(trained[0])}"
                    yield pool.finding(f"{prefix}leak", row, reason)
            for row in own[1:].tolist():
                yield pool.finding(f"{prefix}duplicate", row, f"{words} {pool.place(own[0])}")


def _conflicts(pool: Pool, found: Twins) -> Iterator[Finding]:
    for group in _groups(found, np.ones(len(pool.rows), bool)):
        for asked in pool.asked:
            # Numbers differ by what measured them; classes are meant to be one.
            if not asked.question.classes:
                continue
            answers = asked.question.answers[group]
            labels, first = np.unique(answers[answers >= 0], return_index=True)
            if len(labels) < 2:
                continue
            firsts = group[answers >= 0][first]
            names = ", ".join(str(asked.label(label)) for label in labels)
            for row, answer in zip(group.tolist(), answers.tolist(), strict=True):
                if answer >= 0:
                    other = firsts[labels != answer].min()
                    reason = f"the same as {pool.place(int(other))}; labelled {names}"
                    given = asked.label(answer)
                    yield pool.finding("conflict", row, reason, worse=len(labels), asked=asked, given=given)
