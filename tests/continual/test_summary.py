"""What a matrix of scores says."""

from __future__ import annotations

import pytest

from jenga.continual.summary import summary

MATRIX = [[0.9, 0.2, 0.1], [0.95, 0.8, 0.3], [0.5, 0.6, 0.7]]


def test_the_figures_are_those_of_their_papers() -> None:
    found = summary(MATRIX, greater_is_better=True, before=[0.15, 0.1, 0.12], known=[1, 2])
    assert found is not None
    assert found["final"] == pytest.approx((0.5 + 0.6 + 0.7) / 3)
    # Chaudhry et al. 2018: the best of any stage before the last, which of the first is the second.
    assert found["forgetting"] == pytest.approx(((0.95 - 0.5) + (0.8 - 0.6)) / 2)
    # Lopez-Paz & Ranzato 2017: against the score when it had just been learnt.
    assert found["backward_transfer"] == pytest.approx(((0.5 - 0.9) + (0.6 - 0.8)) / 2)
    assert found["forward_transfer"] == pytest.approx(((0.2 - 0.1) + (0.3 - 0.12)) / 2)


def test_where_less_is_better_more_forgetting_is_still_worse() -> None:
    errors = [[1 - each for each in row] for row in MATRIX]
    up = summary(MATRIX, greater_is_better=True, before=[0.2, 0.1, 0.1], known=[1, 2])
    down = summary(errors, greater_is_better=False, before=[0.8, 0.9, 0.9], known=[1, 2])
    assert up is not None
    assert down is not None
    assert down["final"] == pytest.approx(1 - up["final"])  # type: ignore[operator]
    for name in ("forgetting", "backward_transfer", "forward_transfer"):
        assert down[name] == pytest.approx(up[name])  # type: ignore[literal-required]


def test_what_is_not_known_makes_no_figure() -> None:
    assert summary(MATRIX[:2], greater_is_better=True) is None
    assert summary([], greater_is_better=True) is None
    one = summary([[0.5]], greater_is_better=True)
    assert one == {"final": 0.5, "forgetting": None, "backward_transfer": None, "forward_transfer": None}
    holed = summary([[0.9, 0.2], [None, 0.7]], greater_is_better=True, before=[0.1, 0.1], known=[])
    assert holed == {"final": None, "forgetting": None, "backward_transfer": None, "forward_transfer": None}


def test_forward_transfer_is_of_the_stages_whose_heads_were_trained_before() -> None:
    found = summary(MATRIX, greater_is_better=True, before=[0.0, 0.0, 0.25], known=[2])
    assert found is not None
    assert found["forward_transfer"] == pytest.approx(0.05)


def test_a_stage_that_is_better_at_the_end_than_ever_has_negative_forgetting() -> None:
    found = summary([[0.5, 0.1], [0.7, 0.8]], greater_is_better=True)
    assert found is not None
    assert found["forgetting"] == pytest.approx(-0.2)
