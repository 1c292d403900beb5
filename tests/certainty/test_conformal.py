"""Sets and intervals hold the truth as often as they are asked to."""

from __future__ import annotations

import numpy as np
import pytest
import seeds

from jenga.certainty.conformal import Conformal, fit, rows_for


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_the_share_that_is_covered_is_as_asked(coverage: float) -> None:
    draw = np.random.default_rng(seeds.derived(0))
    found = []
    for _ in range(300):
        limits = fit(draw.normal(size=(59, 1)), coverage)
        assert limits is not None
        found.append(limits.covered(draw.normal(size=(50, 1))))
    # Of exchangeable rows the mean lies within [coverage, coverage + 1 / 60]; four standard errors of 300 means: the
    # spread of one is at most that of a share of 50 rows and of a quantile of 59, both below .07.
    assert coverage - 4 * 0.1 / np.sqrt(300) < np.mean(found) < coverage + 1 / 60 + 4 * 0.1 / np.sqrt(300)


def test_the_limit_is_the_smallest_that_so_many_rows_allow() -> None:
    found = fit(np.arange(1.0, 10.0)[:, None], 0.9)
    assert found == Conformal(0.9, [9.0]), "the ninth of nine, since ten tenths of ten are nine"
    assert fit(np.arange(1.0, 9.0)[:, None], 0.9) is None
    assert rows_for(0.9) == 9


def test_each_column_has_its_limit_and_missing_labels_do_not_count() -> None:
    strange = np.stack([np.arange(1.0, 12.0), np.arange(1.0, 12.0) * 10], axis=1)
    strange[0, 0] = np.nan
    found = fit(strange, 0.8)
    assert found is not None
    assert found.limits == [10.0, 100.0]
    assert found.covered(np.array([[10.0, np.nan], [10.5, 7.0]])) == pytest.approx(2 / 3)


def test_labels_that_no_set_can_hold_are_not_covered() -> None:
    strange = np.append(np.linspace(0, 0.9, 80), [np.inf] * 20)[:, None]
    found = fit(strange, 0.9)
    assert found == Conformal(0.9, [1.0]), "every class that can be in a set, which JSON has a number for"
    assert found.covered(strange) == 0.8
