"""How numbers are shown to a network: by intervals, and clipped."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from jenga.modalities.events.layers import SHARED_VALUES, Pieces, PiecewiseLinear, SignedLog, SmoothClip


def training_features() -> NDArray[np.float32]:
    """A number, one that is nearly always 0, and a flag."""
    features = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    features[:, 1] = np.where(np.arange(400) % 50 == 0, np.arange(400), 0)
    features[:, 2] = features[:, 2] > 0
    return features


def test_a_feature_goes_through_its_intervals_one_by_one() -> None:
    pieces = Pieces.of(training_features(), 8)
    encode = PiecewiseLinear(pieces)
    features = torch.from_numpy(training_features())
    found = encode(features)
    for column in (0, 1):
        own = pieces.feature == column
        edges = torch.cat([pieces.low[own], (pieces.low + pieces.width)[own][-1:]])
        assert edges[0] == features[:, column].min()
        assert edges[-1] == features[:, column].max()
        # Between its ends, what the intervals add up to is the feature itself again.
        torch.testing.assert_close(edges[0] + (found * pieces.width)[:, own].sum(1), features[:, column])
    assert not (pieces.feature == 2).any(), "a flag says all as a number"


def test_a_feature_that_is_nearly_always_zero_is_told_apart_where_it_is_not() -> None:
    pieces = Pieces.of(training_features(), 8)
    assert (pieces.low[pieces.feature == 1] > 0).sum() >= 2


def test_a_value_that_many_rows_share_ends_an_interval_where_asked() -> None:
    numbers = np.linspace(0, 1, 4000, dtype=np.float32)
    numbers[:20], numbers[20:39] = 0.4321, 0.8765
    asked, unasked = (set(Pieces.of(numbers[:, None], 4, shared_by=by).low.tolist()) for by in (20, None))
    shared = numbers[0]
    following = numbers[numbers > shared].min()
    assert asked - unasked == {shared.item(), following.item()}, "and not what 19 rows share"


def test_values_that_rows_share_end_a_bounded_number_of_intervals() -> None:
    numbers = np.repeat(np.arange(100, dtype=np.float32), 20)[:, None]
    quantiles = len(Pieces.of(numbers, 4).low)
    assert quantiles < len(Pieces.of(numbers, 4, shared_by=20).low) <= quantiles + 2 * 4 * SHARED_VALUES


def test_a_number_is_drawn_within_the_limit() -> None:
    numbers = torch.tensor([-1e5, -0.5, 0.0, 0.5, 1e5])
    clipped = SmoothClip(3.0)(numbers)
    torch.testing.assert_close(clipped, numbers / (1 + (numbers / 3) ** 2) ** 0.5)
    assert clipped.abs().max() <= 3


def test_a_logarithm_keeps_sign_and_order_and_shows_small_numbers_largest() -> None:
    drawn = SignedLog(10.0)(torch.tensor([-1e5, -0.5, 0.0, 0.5, 1e5]))
    assert drawn[2] == 0
    assert torch.equal(drawn, -drawn.flip(0))
    torch.testing.assert_close(drawn[3:], torch.tensor([6.0, 1e6 + 1]).log())
