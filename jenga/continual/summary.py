"""What a matrix of scores says of a training in stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

FILE = "continual.json"
"""What a run in stages keeps of its scores, in its folder."""

Matrix = Sequence[Sequence[float | None]]
"""``R[i][j]``: the score of stage j's rows after stage i was learnt, both from 0; None where it is undefined."""


class Summary(TypedDict):
    """Of S stages, in units of the score; None where it is undefined.

    `final`: the mean score of all stages after the last one. `forgetting`: by how much it is worse than a stage's best
    before that, on average over all stages but the last. `backward_transfer`: by how much a stage's score is better
    than when it had just been learnt, on average over the same. `forward_transfer`: by how much a stage's score was
    better just before it was learnt than before the training began.
    """

    final: float | None
    forgetting: float | None
    backward_transfer: float | None
    forward_transfer: float | None


def summary(
    matrix: Matrix, *, greater_is_better: bool, before: Sequence[float | None] | None = None, known: Sequence[int] = ()
) -> Summary | None:
    """Return what a whole matrix says; None where stages are not done yet.

    final, backward and forward transfer are ACC, BWT and FWT of Lopez-Paz & Ranzato 2017 (section 3), forgetting is F
    of Chaudhry et al. 2018 (section 4), whose best may be of any stage before the last. Where less is better, all signs
    but that of `final` are turned: more forgetting is always worse, more transfer always better. before: scores of the
    model before the first step. known: the stages whose heads an earlier stage had trained, which alone have a score
    just before that says something.
    """
    n = len(matrix)
    if not n or any(len(row) != n for row in matrix):
        return None
    sign = 1.0 if greater_is_better else -1.0
    last = matrix[-1]
    bests = [_best([matrix[i][j] for i in range(n - 1)], sign) for j in range(n - 1)]
    forward: list[float | None] = []
    if before is not None:
        forward = [_difference(matrix[j - 1][j], before[j], sign) for j in known if j > 0]
    return {
        "final": _mean(last),
        "forgetting": _mean([_difference(bests[j], last[j], sign) for j in range(n - 1)]),
        "backward_transfer": _mean([_difference(last[j], matrix[j][j], sign) for j in range(n - 1)]),
        "forward_transfer": _mean(forward),
    }


def _best(scores: Sequence[float | None], sign: float) -> float | None:
    known = [each for each in scores if each is not None]
    return max(known, key=lambda each: sign * each) if known else None


def _difference(score: float | None, other: float | None, sign: float) -> float | None:
    return None if score is None or other is None else sign * (score - other)


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of numbers that are all known."""
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
