"""Cutting is exact, even over classes, and the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.rows.split import cut, duplicate_warning, leak_warning, part_sizes, shared_with

pytestmark = pytest.mark.usefixtures("without_report")


@settings(max_examples=100, deadline=None)
@given(
    strata=st.lists(st.integers(-100, 6), max_size=60),
    shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.49)),
    seed=st.integers(0, 2**32),
)
def test_every_row_is_in_exactly_one_part_of_the_asked_size(
    strata: list[int], shares: tuple[float, float], seed: int
) -> None:
    sizes = {"test": int(shares[0] * len(strata)), "valid": int(shares[1] * len(strata))}
    parts = cut(np.array(strata, dtype=np.int64), sizes, seed=seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(strata)))
    assert {name: len(parts[name]) for name in sizes} == sizes
    again = cut(np.array(strata, dtype=np.int64), sizes, seed=seed)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=8), seed=st.integers(0, 1000))
def test_each_class_gives_its_share_to_within_one_row(counts: list[int], seed: int) -> None:
    strata = np.repeat(np.arange(len(counts)), counts)
    size = len(strata) // 5
    valid = strata[cut(strata, {"valid": size}, seed=seed)["valid"]]
    for each, count in enumerate(counts):
        # A class of one row stays in train, so others may have to give one more.
        assert abs((valid == each).sum() - count * size / len(strata)) < 2


def test_common_classes_are_cut_in_exact_proportion() -> None:
    strata = np.repeat([0, 1, 2], [800, 150, 50])
    parts = cut(strata, {"test": 100, "valid": 200}, seed=0)
    assert np.bincount(strata[parts["test"]]).tolist() == [80, 15, 5]
    assert np.bincount(strata[parts["valid"]]).tolist() == [160, 30, 10]


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_one_row_stays_in_train(seed: int) -> None:
    # Half of the rows: the common class gives 4, and its remainder of 0 is less than the 0.5 of the two others.
    strata = np.array([0] * 4 + [1] + [0] * 4 + [2])
    parts = cut(strata, {"valid": 5}, seed=seed)
    assert {4, 9} <= set(parts["train"].tolist())


@pytest.mark.parametrize("seed", range(20))
def test_rare_classes_reach_different_parts(seed: int) -> None:
    # 40 classes of 5 rows, 20 of 200 rows each for test and valid: no class may be hit twice by one part.
    strata = np.repeat(np.arange(40), 5)
    parts = cut(strata, {"test": 20, "valid": 20}, seed=seed)
    assert np.bincount(strata[parts["test"]]).max() == 1
    assert np.bincount(strata[parts["valid"]]).max() == 1


def test_only_single_rows_are_still_cut_to_size() -> None:
    parts = cut(np.arange(10), {"valid": 3}, seed=0)
    assert len(parts["valid"]) == 3


def test_the_seed_decides_and_rows_keep_their_order() -> None:
    strata = np.zeros(100, dtype=np.int64)
    first, second = (cut(strata, {"valid": 10}, seed=seed)["valid"] for seed in (0, 1))
    assert first.tolist() != second.tolist()
    assert first.tolist() == sorted(first.tolist())


def test_the_split_is_the_same_on_any_machine() -> None:
    # Pinned: a change here changes every published score that was made with the default split.
    parts = cut(np.arange(20) % 3, {"test": 3, "valid": 4}, seed=0)
    assert parts["test"].tolist() == [1, 14, 15]
    assert parts["valid"].tolist() == [7, 9, 17, 18]


def test_more_rows_than_there_are_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        cut(np.zeros(3, dtype=np.int64), {"valid": 4}, seed=0)


@pytest.mark.parametrize(
    ("total", "valid", "test", "sizes"),
    [
        (1000, 0.1, 0.1, [100, 100]),
        (25, 0.1, 0.1, [3, 3]),
        (100, 0.29, 0.0, [29, 0]),
        (3, 0.1, 0.1, [1, 1]),
        (2, 0.1, 0.1, [1, 0]),
        (1, 0.1, 0.1, [0, 0]),
        (0, 0.1, 0.1, [0, 0]),
        (10, 0.9, 0.9, [9, 0]),
    ],
)
def test_sizes_are_fractions_rounded_and_leave_train_a_row(
    total: int, valid: float, test: float, sizes: list[int]
) -> None:
    assert list(part_sizes(total, {"valid": valid, "test": test}).values()) == sizes


def test_a_leak_is_counted() -> None:
    assert leak_warning(0, 1, split="valid", source="s") is None
    words = leak_warning(shared_with(["a", "b"])(["a", "a", "c"]), 3, split="valid", source="s")
    assert words is not None
    assert words.startswith("s: 2 of 3 valid rows have a text that is in the training rows too")


def test_what_many_rows_share_is_counted_as_what_few_do() -> None:
    train, other = [f"text {at}" for at in range(100_001)], ["text 5", "text 100000", "another", "text 5"]
    assert shared_with(train)(other) == shared_with(train[:6] + train[-1:])(other) == 3
    assert shared_with(train)([]) == 0


def test_shared_ids_are_counted() -> None:
    assert duplicate_warning(0, [], split="train", source="s") is None
    words = duplicate_warning(4, {"c", "a"}, split="train", source="s")
    assert words is not None
    assert words.startswith("s: 4 train rows share 2 ids (a, c)")
