"""Which mark parts several labels of one cell."""

from __future__ import annotations

from collections import Counter

from jenga.labels.separators import find_separator


def test_a_stronger_mark_goes_first() -> None:
    assert find_separator(Counter(["a, b|c", "a, b", "c", "c|a, b"]), ())[0] == "|"


def test_a_single_combination_shows_no_separator() -> None:
    assert find_separator(Counter({"a|b": 9, "c|d": 9}), ()) == ("", "a|b")
