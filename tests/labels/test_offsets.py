"""Offsets in other units, as characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jenga.labels.offsets import character_offsets

ENCODINGS = {"utf16": ("utf-16-le", 2), "bytes": ("utf-8", 1)}
CHARACTERS = st.characters(exclude_categories=["Cs"])


@given(text=st.text(CHARACTERS, max_size=8), unit=st.sampled_from(["utf16", "bytes"]))
def test_each_character_begins_where_its_encoding_does(text: str, unit: str) -> None:
    encoding, width = ENCODINGS[unit]
    expected = {len(text[:at].encode(encoding)) // width: at for at in range(len(text) + 1)}
    offsets = character_offsets(text, unit)
    assert (expected if offsets is None else offsets) == expected


@pytest.mark.parametrize(
    ("text", "unit"), [("caf\u00e9", "utf16"), ("plain", "bytes"), ("\U0001f600", "characters"), ("", "utf16")]
)
def test_texts_that_all_units_count_alike_need_no_table(text: str, unit: str) -> None:
    assert character_offsets(text, unit) is None


def test_the_inside_of_a_character_is_no_offset() -> None:
    assert character_offsets("a\U0001f600b", "utf16") == {0: 0, 1: 1, 3: 2, 4: 3}
