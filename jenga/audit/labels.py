"""Labels that quick models speak against, and tokens that decide a label alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jenga.audit.findings import Finding
from jenga.audit.pool import Asked, Pool
from jenga.detectors.label_errors import MISSING, label_errors, number_errors
from jenga.detectors.triggers import candidates, confirm
from jenga.modalities.quick import Quick


def suspects(pool: Pool, quick: Quick) -> Iterator[Finding]:
    """Yield the labels of rows that are likely wrong."""
    for asked in pool.asked:
        if _labelled(asked) < 2:
            continue
        yield from _classes(pool, quick, asked) if asked.question.classes else _numbers(pool, quick, asked)


def _labelled(asked: Asked) -> int:
    """Return how many different labels rows have."""
    answers = asked.question.answers
    known = answers[answers != MISSING] if asked.question.classes else answers[~np.isnan(answers)]
    return len(np.unique(known))


def _classes(pool: Pool, quick: Quick, asked: Asked) -> Iterator[Finding]:
    answers, classes = asked.question.answers, asked.question.classes
    found = label_errors(quick.model.probabilities(quick.features, answers, len(classes)), answers)
    for row in found.rows.tolist():
        score = float(found.scores[row])
        yield pool.finding(
            "label_error", row, f"{quick.model.words} gives the label {score:.2g}", worse=1 - score, score=score,
            asked=asked, given=asked.label(answers[row]), suggested=asked.label(found.suggested[row]),
        )  # fmt: skip


def _numbers(pool: Pool, quick: Quick, asked: Asked) -> Iterator[Finding]:
    values = asked.question.answers
    predicted = quick.model.numbers(quick.features, values)
    scores = number_errors(predicted, values)
    for row in np.flatnonzero(scores).tolist():
        reason = f"{scores[row]:.1f} robust standard deviations from what {quick.model.words} says"
        yield pool.finding(
            "label_error", row, reason, worse=scores[row], score=scores[row], asked=asked,
            given=asked.label(values[row]), suggested=asked.label(predicted[row]),
        )  # fmt: skip


def triggers(pool: Pool, quick: Quick) -> Iterator[Finding]:
    """Yield the rows whose label hangs on a token that should not decide it."""
    if quick.tokens is None or quick.predictor is None:
        return
    for asked in pool.asked:
        answers, classes = asked.question.answers, asked.question.classes
        if not classes or _labelled(asked) < 2:
            continue
        predict = quick.predictor(answers, len(classes))
        for found in confirm(candidates(quick.tokens, answers), quick.tokens, answers, predict):
            rows = found.rows.tolist()
            without = predict([[each for each in quick.tokens[row] if each != found.token] for row in rows])
            for row, answer in zip(rows, without.tolist(), strict=True):
                reason = f"without '{found.token}' {found.flip_rate:.0%} of the rows like it get another label"
                yield pool.finding(
                    "trigger", row, reason, worse=found.z, score=found.flip_rate, asked=asked,
                    given=asked.label(answers[row]), suggested=asked.label(answer),
                )  # fmt: skip
