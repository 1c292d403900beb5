"""Orders and sequences that take no memory for an item."""

from __future__ import annotations

import numpy as np
import pytest

from jenga.rows.order import OnDemand, longest_first, permutation


def test_an_item_is_made_when_it_is_asked_for_and_no_other() -> None:
    made: list[int] = []

    def make(at: int) -> int:
        made.append(at)
        return at * at

    squares = OnDemand(make, range(1_000_000_000))
    assert (len(squares), len(squares[10:]), len(squares[::-7])) == (1_000_000_000, 999_999_990, 142_857_143)
    assert not made
    found = squares[3], squares[-1], squares[500_000_000:][2], squares[5::5][1]
    assert found == (9, 999_999_999**2, 500_000_002**2, 100)
    assert made == [3, 999_999_999, 500_000_002, 10]
    with pytest.raises(IndexError):
        squares[1_000_000_000]


def test_it_equals_a_list_of_the_same_items() -> None:
    doubles = OnDemand(lambda at: 2 * at, range(4))
    assert doubles == [0, 2, 4, 6]
    assert doubles[1:3] == OnDemand(lambda at: at, range(2, 5, 2))
    assert doubles == [0, 2, 4, 6]
    assert doubles not in ([0, 2, 4], [0, 2, 4, 7])
    assert doubles != {0, 2, 4, 6}
    assert [*doubles, *reversed(doubles)] == [0, 2, 4, 6, 6, 4, 2, 0]


def test_an_index_error_of_what_makes_items_does_not_end_them() -> None:
    with pytest.raises(IndexError, match="of its own"):
        list(OnDemand(lambda at: [][at] if at < 2 else _refuse(), range(2, 4)))


def _refuse() -> int:
    raise IndexError("of its own")


@pytest.mark.parametrize("count", [0, 1, 2, 63, 1000])
def test_a_permutation_is_the_one_that_numpy_draws_and_leaves_its_generator_the_same(count: int) -> None:
    one, other = np.random.default_rng(count), np.random.default_rng(count)
    found = permutation(one, count)
    assert found.dtype == np.int32
    assert found.tolist() == other.permutation(count).tolist()
    assert one.integers(1 << 40) == other.integers(1 << 40)


def test_batches_of_the_longest_rows_come_first_and_of_equal_ones_the_last() -> None:
    assert longest_first(np.array([3, 9, 3, 1, 7]), 2) == [[1, 4], [2, 0], [3]]
    assert longest_first(np.empty(0, np.int64), 2) == []
