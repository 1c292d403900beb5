"""Words of a text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jenga.labels.words import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Habari, dada!", ["Habari", ",", "dada", "!"]),
        ("ng'ombe wa Otieno's", ["ng", "'", "ombe", "wa", "Otieno", "'", "s"]),
        ("Dar-es-Salaam 3.5%", ["Dar", "-", "es", "-", "Salaam", "3", ".", "5", "%"]),
        ("e\u0323\u0300ko\u0323\u0301", ["e\u0323\u0300ko\u0323\u0301"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("العَرَبِيَّة", ["العَرَبِيَّة"]),
        ("አዲስ አበባ።", ["አዲስ", "አበባ", "።"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("ok\u00a0👍🏽", ["ok", "👍", "🏽"]),
        ("a\u200cb", ["a\u200cb"]),
        ("  ", []),
    ],
)
def test_words_are_runs_of_letters_or_single_marks(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words


@given(st.text())
def test_words_cover_everything_but_space_in_order(text: str) -> None:
    spans = split_words(text)
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
