"""Edits between what was said and what was written."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from jenga.labels.edits import edits

WORDS = st.text(alphabet="abc ", max_size=7)


@given(said=WORDS, written=WORDS)
def test_the_count_is_that_of_the_definition(said: str, written: str) -> None:
    @cache
    def fewest(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        replaced = fewest(i - 1, j - 1) + (said[i - 1] != written[j - 1])
        return min(replaced, fewest(i - 1, j) + 1, fewest(i, j - 1) + 1)

    assert edits(said, written) == fewest(len(said), len(written))


def test_words_are_compared_whole() -> None:
    assert edits("the cat sat".split(), "the hat sat down".split()) == 2  # noqa: SIM905
