"""Seconds since the same entity was heard of, and who names nobody."""

from __future__ import annotations

import numpy as np
import pytest

from jenga.refinery.entities import EntityTimes, named


def test_gaps_are_those_to_the_row_before_of_the_same_one_whatever_the_pieces() -> None:
    names = [b"a", b"b", b"a", None, b"b", b"a", b"a"]
    times = np.array([0.0, 3.0, 10.0, 11.0, 20.0, 5.0, 6.5])
    for cut in range(len(names)):
        known = EntityTimes(10)
        parts = [known.gaps(names[:cut], times[:cut]), known.gaps(names[cut:], times[cut:])]
        # Never below 0, where a row lies before the one it follows.
        assert np.concatenate(parts).tolist() == [10.0, 17.0, 0.0, 1.5]


def test_who_was_heard_of_longest_ago_is_forgotten_first() -> None:
    names, times = [b"a", b"b", b"a", b"c", b"a", b"b", b"c"], np.arange(7.0)
    assert EntityTimes(2).gaps(names, times).tolist() == [2.0, 2.0]
    assert EntityTimes(3).gaps(names, times).tolist() == [2.0, 2.0, 4.0, 3.0]


def test_rows_and_names_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        EntityTimes(2).gaps([b"a"], np.arange(2.0))


def test_blanks_and_words_for_nothing_name_nobody() -> None:
    assert named([b"a", b"", b" - ", b"n/a", b" a", b"\xc3\xa9"], ["-", "n/a"]) == [
        b"a", None, None, None, b" a", b"\xc3\xa9",
    ]  # fmt: skip
