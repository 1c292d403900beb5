"""Words of any script, and tags of words from tags and from spans."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.data.labels import HeadColumn, RowError
from jenga.data.tags import TagLabels, entity_types, is_per_word, repair, split_words, tag_names, words_by_space
from jenga.types import HeadSpace

TYPES = ("LOC", "PER")


def tagger(labels: tuple[str, ...] | None = None) -> TagLabels:
    names = tag_names(TYPES)
    column = HeadColumn("ner", "entities", "tags", ("entities",), None, labels)
    return TagLabels(column, HeadSpace("ner", "entities", "tags", len(names), names))


def tags_of(value: Any, text: str, head: TagLabels | None = None) -> list[str]:
    words = words_by_space(text) if is_per_word(value) else split_words(text)
    codes = (head or tagger()).encode(value, text, words)
    assert codes.dtype == np.int64
    return [tag_names(TYPES)[code] for code in codes]


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


def test_tags_of_types_and_types_of_tags() -> None:
    assert tag_names(["PER", "LOC"]) == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert entity_types(["O", "B-PER", "I-PER", "B-LOC"]) == ("LOC", "PER")
    assert entity_types(["PER", "LOC"]) == ("LOC", "PER")
    assert entity_types(["O", "PER"]) == ("PER",)


def test_tags_one_a_word() -> None:
    assert tags_of(["O", "B-PER", "I-PER"], "na Asha Juma") == ["O", "B-PER", "I-PER"]


def test_integer_tags_count_in_the_order_of_the_configuration() -> None:
    listed = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    assert tags_of([0, 1, 2, 3], "na Asha Juma Mombasa", tagger(listed)) == ["O", "B-PER", "I-PER", "B-LOC"]


def test_an_inside_tag_that_continues_nothing_opens_an_entity_and_is_counted_by_row() -> None:
    head = tagger()
    assert tags_of(["I-PER", "O", "I-LOC", "I-PER"], "a b c d", head) == ["B-PER", "O", "B-LOC", "B-PER"]
    tags_of(["B-PER", "I-PER", "O", "O"], "a b c d", head)
    assert head.notes == {"repaired": 1}


def test_iob1_keeps_neighbours_apart() -> None:
    assert repair(["I-PER", "I-PER", "B-PER", "I-PER"]) == ["B-PER", "I-PER", "B-PER", "I-PER"]


def test_spans_become_tags_of_whole_words() -> None:
    text = "Asha Juma's shop, Dar-es-Salaam"
    spans = [{"start": 18, "end": 31, "label": "LOC", "text": "Dar-es-Salaam"}, {"start": 0, "end": 9, "label": "PER"}]
    assert tags_of(spans, text) == ["B-PER", "I-PER", "O", "O", "O", "O", "B-LOC", *["I-LOC"] * 4]


def test_no_spans_is_no_entity_and_neighbours_stay_apart() -> None:
    assert tags_of([], "a b") == ["O", "O"]
    assert tags_of([{"start": 0, "end": 1, "label": "PER"}, {"start": 2, "end": 3, "label": "PER"}], "a b") == [
        "B-PER",
        "B-PER",
    ]


def test_a_span_inside_a_word_is_widened_and_counted_but_space_around_is_not() -> None:
    head = tagger()
    assert tags_of([{"start": 4, "end": 7, "label": "LOC"}], "in xNairobi", head) == ["O", "B-LOC"]
    assert head.notes == {"widened": 1}
    assert tags_of([{"start": 2, "end": 10, "label": "LOC"}], "in Nairobi", head) == ["O", "B-LOC"]
    assert head.notes == {"widened": 1}


def test_a_refused_row_counts_no_repair() -> None:
    head = tagger()
    with pytest.raises(RowError):
        tags_of([{"start": 1, "end": 2, "label": "LOC"}, {"start": 3, "end": 99, "label": "LOC"}], "abc def", head)
    assert not head.notes


SPAN = {"start": 0, "end": 4, "label": "PER"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["O", "O"], "2 tags for 3 words"),
        (["O", "O", "B-PERS"], r"unknown tag \"B-PERS\"; did you mean 'B-PER'\? Allowed: O, B-LOC"),
        (["O", "O", "S-PER"], "unknown tag"),
        (["O", None, "O"], "unknown tag null"),
        ([0, 1, 0], "tag 0 is a number; set the head's `labels`"),
        ("O O O", "is no list"),
        ({"start": 0}, "is no list"),
        ([{"start": 0, "end": 4}], "is no entity; allowed: {start, end, label}"),
        ([{**SPAN, "start": "0"}], "is no entity"),
        ([SPAN, "PER"], "is no entity"),
        ([{**SPAN, "label": "PERS"}], "unknown entity type \"PERS\"; did you mean 'PER'"),
        ([{**SPAN, "end": 40}], "the span 0-40 is empty or outside the text of 19 characters"),
        ([{**SPAN, "start": -1}], "outside the text"),
        ([{**SPAN, "end": 0}], "is empty"),
        ([{**SPAN, "text": "Juma"}], 'text is "Juma", but characters 0-4 are "Asha"'),
        ([SPAN, {"start": 2, "end": 9, "label": "LOC"}], "overlap"),
        ([{"start": 0, "end": 9, "label": "PER"}, SPAN], "overlap"),
        ([SPAN, SPAN], "overlap"),
        ([{"start": 0, "end": 2, "label": "PER"}, {"start": 2, "end": 4, "label": "LOC"}], 'share the word "Asha"'),
        ([{"start": 9, "end": 10, "label": "PER"}], "covers no word"),
    ],
)
def test_tags_of_another_form_are_refused_with_what_is_allowed(value: Any, words: str) -> None:
    with pytest.raises(RowError, match=words):
        tags_of(value, "Asha Juma Mombasani")


def test_an_integer_tag_beyond_the_list_is_refused() -> None:
    with pytest.raises(RowError, match="tag 3 is beyond the 3 `labels`"):
        tags_of([3], "a", tagger(("O", "B-PER", "I-PER")))


def test_missing_tags_are_ignored() -> None:
    assert tagger().missing([(0, 1), (2, 3)]).tolist() == [-100, -100]


FIELDS = {
    "start": st.integers(-1, 9) | st.none(),
    "end": st.integers(-1, 9) | st.text(max_size=1),
    "label": st.sampled_from(["PER", "LOC", "X", None]),
}
SPANS = st.lists(st.fixed_dictionaries(FIELDS) | st.none(), max_size=3)
TAGS = st.lists(st.sampled_from(["O", "B-PER", "I-PER", "I-LOC", "X", "", 1, None, ()]), max_size=3)


@settings(max_examples=300, deadline=None)
@given(value=SPANS | TAGS | st.integers() | st.text(max_size=3))
def test_any_label_becomes_well_formed_tags_or_is_refused(value: Any) -> None:
    try:
        names = tags_of(value, "Asha na-x")
    except RowError as error:
        str(error).encode()
        return
    assert names == repair(names)
