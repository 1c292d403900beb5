"""Rows of several callers answered in one pass, each as it would be alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from jenga.errors import DataError
from jenga.inference.predictor import Predictor
from jenga.inference.reading import Plan
from jenga.rows.raw import RawRows

Answers = list[dict[str, Any]]


def kinship(predictor: Predictor, raw: RawRows, plan: Plan) -> Hashable | None:
    """Return what rows read by `plan` have in common with all that may be answered with them; None: nothing may.

    What is read of a row follows from the columns of all rows beside it, and where the model counts the time between
    rows, from the rows before it too.
    """
    if predictor.inputs.ordered:
        return None
    if len(predictor.bundle.inputs) == 1:
        return type(raw), tuple(plan.readings)
    found: list[Hashable] = []
    for part, own in predictor.routed(raw):
        try:
            found.append(kinship(part, own, part.plan(own)))
        except DataError:
            # The answers say so; of more rows it might not be true.
            return None
    return None if None in found else tuple(found)


def together(
    predictor: Predictor, raws: Sequence[RawRows], plan: Plan, *, probabilities: bool = False, drivers: bool = True
) -> list[Answers]:
    """Return the answers to the rows of each caller, as `Predictor.predict` gives them, all in one pass.

    raws: of one kinship, that of `plan`.
    """
    raw = raws[0] if len(raws) == 1 else type(raws[0]).joined(raws)
    answers: Answers = []
    merged = Plan(raw, plan.readings)
    for piece, encoder in predictor.pieces(raw):
        answers += predictor.answers(piece, merged, encoder, probabilities=probabilities, drivers=drivers)
    if len(raws) == 1:
        return [answers]
    found, begin = [], 0
    for own in raws:
        ids = predictor.ids(own)
        # A row without a name goes by its number, which is the caller's.
        found.append([answer | {"id": name} for answer, name in zip(answers[begin:], ids.values(), strict=False)])
        begin += len(ids)
    return found
