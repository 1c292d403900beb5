"""Labels that quick models speak against, and tokens that decide a label alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jenga.audit.findings import Finding
from jenga.audit.pool import Asked, Pool
from jenga.detectors.label_errors import AGREEMENT, label_errors, number_errors
from jenga.detectors.triggers import candidates, confirm
from jenga.modalities.quick import Quick
from jenga.types import IGNORE_INDEX


def suspects(pool: Pool, quick: Quick) -> tuple[list[Finding], list[str]]:
    """Return the labels of rows that are likely wrong, and how much the quick models know of each head's labels."""
    found: list[Finding] = []
    told: list[str] = []
    for asked in pool.asked:
        if _labelled(asked) < 2:
            told.append(f"{asked.name}: its labels were not judged: rows have one label, or none")
        elif asked.question.classes:
            findings, words = _classes(pool, quick, asked)
            found, told = [*found, *findings], [*told, words]
        else:
            found += _numbers(pool, quick, asked)
    return found, told


def _labelled(asked: Asked) -> int:
    """Return how many different labels rows have."""
    answers = asked.question.answers
    known = answers[answers != IGNORE_INDEX] if asked.question.classes else answers[~np.isnan(answers)]
    return len(np.unique(known))


def _classes(pool: Pool, quick: Quick, asked: Asked) -> tuple[list[Finding], str]:
    answers, classes = asked.question.answers, asked.question.classes
    judged = label_errors(quick.model.probabilities(quick.features, answers, len(classes)), answers)
    found = []
    for row in judged.rows.tolist():
        score = float(judged.scores[row])
        found.append(
            pool.finding(
                "label_error", row, f"{quick.model.words} gives the label {score:.2g}", worse=1 - score, score=score,
                asked=asked, given=asked.label(answers[row]), suggested=asked.label(judged.suggested[row]),
            )
        )  # fmt: skip
    known = answers != IGNORE_INDEX
    agreement = float(np.mean(judged.suggested[known] == answers[known]))
    words = f"{asked.name}: {quick.model.words} agrees with {agreement:.1%} of the labels of rows that it did not learn"
    if agreement < AGREEMENT:
        words += ", so it knows too little to find more than the plainest errors"
    return found, words


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
