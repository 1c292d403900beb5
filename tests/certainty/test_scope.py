"""Rows that are none of what a head has learnt: where the limit lies, and how well it tells them apart."""

from __future__ import annotations

import numpy as np
import pytest
import seeds
from sklearn.metrics import roc_auc_score

from jenga.certainty.scope import Scope, quality, settled


def rows(inside: int, outside: int, *, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how unlike rows are, those outside by `apart` more, and which are inside and outside; some are neither."""
    draw = np.random.default_rng(seeds.derived(seed))
    kind = draw.permutation(np.repeat([0, 1, 2], [inside, outside, 7]))
    return draw.normal(size=len(kind)) + apart * (kind == 1), kind == 0, kind == 1


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("outside", [0, 50])
def test_at_least_the_share_that_is_asked_for_is_kept_and_no_row_more_than_that_takes(
    keep: float, outside: int
) -> None:
    unlike, own, others = rows(200, outside, apart=3)
    found = settled(unlike, own, others, score="energy", keep=keep)
    assert found is not None
    kept = int((~found.beyond(unlike[own])).sum())
    assert kept == int(np.ceil(keep * 200 - 1e-9))
    assert quality(found, unlike, own, others)["kept"] == kept / 200


def test_without_a_share_rows_of_other_classes_settle_the_limit_where_there_are_ten() -> None:
    unlike, own, others = rows(400, 200, apart=3)
    found = settled(unlike, own, others, score="energy", keep=None)
    assert found is not None

    def gained(limit: float) -> float:
        return float((unlike[own] <= limit).mean() + (unlike[others] > limit).mean())

    assert gained(found.limit) == max(gained(limit) for limit in unlike)
    few = others & (np.cumsum(others) <= 9)
    assert settled(unlike, own, few, score="energy", keep=None) == settled(
        unlike, own, others, score="energy", keep=0.95
    )


def test_rows_that_are_told_apart_at_every_limit_between_keep_all_of_scope() -> None:
    unlike = np.arange(40.0)
    found = settled(unlike, unlike < 20, unlike >= 20, score="probability", keep=None)
    assert found == Scope("probability", 19.0)
    assert quality(found, unlike, unlike < 20, unlike >= 20) == {
        "kept": 1.0, "outside": 20, "refused": 1.0, "auroc": 1.0, "fpr_at_95_tpr": 0.0,
    }  # fmt: skip


def test_a_row_outside_that_looks_just_like_one_inside_is_kept_with_it() -> None:
    """So that a limit between them, at which 1 of 2 inside and all outside are told rightly, beats one at the tie."""
    unlike = np.array([1.0, 3.0, *[3.0] * 10])
    inside = np.arange(12) < 2
    scope = settled(unlike, inside, ~inside, score="energy", keep=None)
    assert scope == Scope("energy", 1.0)


def test_there_is_no_limit_without_rows_inside() -> None:
    nobody = np.zeros(3, bool)
    assert settled(np.arange(3.0), nobody, ~nobody, score="energy", keep=None) is None
    assert quality(Scope("energy", 1.0), np.arange(3.0), nobody, nobody) == {}


def test_figures_of_rows_outside_are_those_of_the_field() -> None:
    unlike, own, others = rows(300, 100, apart=1.5)
    unlike = unlike.round(1)  # with ties
    found = quality(Scope("energy", 1.0), unlike, own, others)
    assert found["auroc"] == pytest.approx(roc_auc_score(others[own | others], unlike[own | others]))
    limit = np.sort(unlike[own])[284]  # the 285th of 300
    assert found["fpr_at_95_tpr"] == float((unlike[others] <= limit).mean())
    assert found["refused"] == float((unlike[others] > 1.0).mean())
    assert "auroc" not in quality(Scope("energy", 1.0), unlike, own, np.zeros_like(own))
