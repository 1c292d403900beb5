"""Rows that detectors speak against, as entries of a quarantine."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jenga.detectors.label_errors import label_errors
from jenga.detectors.triggers import Trigger, candidates, confirm
from jenga.rows.batches import EncodedSplit, Key, Source
from jenga.sentinel.early import EarlyProbabilities
from jenga.sentinel.ledger import Cells, Entry, capped
from jenga.types import IGNORE_INDEX, TaskOutput

logger = logging.getLogger(__name__)

ODDS = 2.0
"""How much likelier another class must be. Early probabilities are flatter than those of a model that has learnt."""
LEAST_AGREEMENT = 0.5
"""Share of the labels that the model has to have foretold, for its disagreement to say anything."""
_TEXT = {"input_ids", "attention_mask", "token_type_ids"}
_AT_ONCE = 128
LEAST_TURNED = 0.25
"""Share of rows of other labels that a trigger turns to its own at least."""
Forward = Callable[[dict[str, torch.Tensor], list[str]], Mapping[str, TaskOutput]]
"""A model in evaluation mode: what it says of inputs ``(B, T)`` on the CPU, by the names of some tasks."""
_ROUNDS = 4
"""Times that triggers are looked for: a second one may hide behind a first."""


class Caps(NamedTuple):
    """Shares of a head's rows, and of those of a class, that are set aside at most."""

    most: float
    most_of_class: float


def wrong_labels(source: Source, key: Key, early: EarlyProbabilities, cells: Cells, step: int) -> list[Entry]:
    """Return the rows of a head whose labels look wrong, worst first, as if all of them were set aside from `step` on.

    cells: what is set aside already. None where the model was against most labels: that says nothing of single ones,
    and is so at the begin of a stage whose labels contradict those before. Raises SetupError without cleanlab.
    """
    split = source.splits["train"]
    labels = _left(split, key, cells)
    probabilities, seen = early.probabilities()
    labels[~seen] = IGNORE_INDEX
    known = labels != IGNORE_INDEX
    agrees = probabilities[known].argmax(1) == labels[known]
    if known.any() and agrees.mean() < LEAST_AGREEMENT:
        logger.warning(
            "sentinel: step %d: wrong labels of %s.%s are not told: in the early epochs the model agreed with %.0f%% "
            "of the labels, and has to with %.0f%%", step, *key, 100 * agrees.mean(), 100 * LEAST_AGREEMENT,
        )  # fmt: skip
        return []
    found = label_errors(probabilities, labels, odds=ODDS, near=0)
    names = split.spaces[key].labels
    return [
        Entry(
            id=split.rows.ids[row], source=source.name, task=key[0], head=key[1], detector="label_error",
            score=round(float(found.scores[row]), 6), reason="probability of the label given, in early epochs",
            step=step, since=step, state="quarantined", label=names[labels[row]],
            suggested=names[found.suggested[row]],
        )
        for row in found.rows.tolist()
    ]  # fmt: skip


def rows_with_triggers(
    source: Source, key: Key, forward: Forward, cells: Cells, step: int, *, seen: NDArray[np.bool_]
) -> list[Entry]:
    """Return the rows with a token that decides their class by itself, as if set aside from the start.

    seen: which rows ``(M,)`` the model has learnt from; of others it may answer anything. None of rows
    that are no sequences of tokens, of which nothing can be looked for.
    """
    split = source.splits["train"]
    if split.encoded.packed or not len(split) or not _TEXT.issuperset(split.encoded.inputs([0])):
        return []
    tokens, labels = _tokens(split), _left(split, key, cells)
    labels[~seen] = IGNORE_INDEX
    triggers: list[Trigger] = []
    for _ in range(_ROUNDS):
        likely = candidates(tokens, labels)
        found = confirm(
            likely, tokens, labels, lambda rows: _answers(forward, split, key, rows), least_turned=LEAST_TURNED
        )
        if not found:
            break
        triggers += found
        for trigger in found:
            labels[trigger.rows] = IGNORE_INDEX
    names, whole = split.spaces[key].labels, split.rows.labels[key]
    entries = [
        Entry(
            id=split.rows.ids[row], source=source.name, task=None, head=None, detector="trigger",
            score=round(float(trigger.flip_rate), 6),
            reason=f"share of rows of {key[0]}.{key[1]} that change their class without token {trigger.token}",
            step=step, since=0, state="quarantined", label=names[whole[row]],
        )
        for trigger in triggers for row in trigger.rows.tolist()
    ]  # fmt: skip
    return list({each.id: each for each in entries}.values())


def within_caps(entries: Sequence[Entry], source: Source, key: Key, taken: Sequence[Entry], caps: Caps) -> list[Entry]:
    """Return `entries` with those beyond the caps only observed, which their reasons say."""
    split = source.splits["train"]
    labels, names = split.rows.labels[key], split.spaces[key].labels
    counts = {names[at]: count for at, count in Counter(labels[labels >= 0].tolist()).items()}
    inside, beyond = capped(entries, counts, taken, most=caps.most, most_of_class=caps.most_of_class)
    return [*inside, *(replace(each, state="observed", reason=f"{each.reason}; beyond the caps") for each in beyond)]


def _left(split: EncodedSplit, key: Key, cells: Cells) -> NDArray[np.int64]:
    """Return the labels of a head without those that are set aside."""
    labels: NDArray[np.int64] = split.rows.labels[key].copy()
    gone = [row for row, name in enumerate(split.rows.ids) if {None, key} & cells.get(name, frozenset())]
    labels[gone] = IGNORE_INDEX
    return labels


def _tokens(split: EncodedSplit) -> list[list[int]]:
    found: list[list[int]] = []
    for start in range(0, len(split), _AT_ONCE):
        inputs = split.encoded.inputs(list(range(start, min(start + _AT_ONCE, len(split)))))
        pairs = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True)
        found += [[token for token, kept in zip(tokens, mask, strict=True) if kept] for tokens, mask in pairs]
    return found


def _answers(forward: Forward, split: EncodedSplit, key: Key, rows: Sequence[Sequence[object]]) -> NDArray[np.int64]:
    """Return the class that a model gives each of `rows` of tokens."""
    names = split.encoded.inputs([0]).keys()
    found = np.empty(len(rows), np.int64)
    order = np.argsort([len(row) for row in rows], kind="stable")
    for start in range(0, len(order), _AT_ONCE):
        index = order[start : start + _AT_ONCE]
        width = max(1, *(len(rows[at]) for at in index))
        inputs = {name: torch.zeros(len(index), width, dtype=torch.int64) for name in names}
        for place, at in enumerate(index.tolist()):
            inputs["input_ids"][place, : len(rows[at])] = torch.tensor(list(rows[at]), dtype=torch.int64)
            inputs["attention_mask"][place, : max(1, len(rows[at]))] = 1
        found[index] = forward(inputs, [key[0]])[key[0]].logits[key[1]].argmax(-1).cpu().numpy()
    return found
