"""Words of any script, and tags of words from tags and from spans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenga.labels.cells import CellReading
from jenga.labels.column import HeadColumn, RowError
from jenga.labels.schemes import repair
from jenga.labels.tag_cells import TagReader, entity_types, is_per_word, tag_names
from jenga.labels.tag_cells import tags_of as labels_of
from jenga.labels.tags import spans
from jenga.labels.unseen import is_unseen, unseen_tag
from jenga.labels.words import split_words, words_by_space
from jenga.types import HeadSpace

TYPES = ("LOC", "PER")


def tagger(labels: tuple[str, ...] | None = None, **cells: Any) -> TagReader:
    names = tag_names(TYPES)
    column = HeadColumn("ner", "entities", "tags", ("entities",), None, labels, cells=CellReading(**cells))
    return TagReader(column, HeadSpace("ner", "entities", "tags", len(names), names))


def tags_of(value: Any, text: str, head: TagReader | None = None) -> list[str]:
    words = words_by_space(text) if is_per_word(value) else split_words(text)
    codes = (head or tagger()).encode(value, text, words)
    assert codes.dtype == np.int64
    return [tag_names(TYPES)[code] if code >= 0 else unseen_tag(code) for code in codes.tolist()]


def spans_of(text: str, unit: str, **words: str) -> list[dict[str, Any]]:
    """Return a span of each of `words` in `text`, by label, as a tool writes it that counts `unit`."""

    def count(end: int) -> int:
        encoding, width = {"characters": ("utf-32-le", 4), "utf16": ("utf-16-le", 2), "bytes": ("utf-8", 1)}[unit]
        return len(text[:end].encode(encoding)) // width

    starts = {label: text.index(word) for label, word in words.items()}
    return [
        {"start": count(start), "end": count(start + len(words[label])), "label": label}
        for label, start in starts.items()
    ]


SMILE = "\U0001f600 caf\u00e9 Amina Otieno, Nairobi"


SPAN = {"start": 0, "end": 4, "label": "PER"}


FIELDS = {
    "start": st.integers(-1, 9) | st.none(),
    "end": st.integers(-1, 9) | st.text(max_size=1),
    "label": st.sampled_from(["PER", "LOC", "X", None]),
}


SPANS = st.lists(st.fixed_dictionaries(FIELDS) | st.none(), max_size=3)


TAGS = st.lists(st.sampled_from(["O", "B-PER", "I-PER", "I-LOC", "X", "", 1, None, ()]), max_size=3)


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
    assert list(head.notes.values()) == [1]
    assert "I- tag" in next(iter(head.notes))


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


def test_a_span_inside_a_word_is_refused_but_one_that_takes_in_a_blank_or_a_mark_is_not() -> None:
    for start, end in ((4, 7), (3, 9), (4, 10), (1, 10)):
        with pytest.raises(RowError, match=r'begins or ends inside the word "(in|xNairobi)"; correct its'):
            tags_of([{"start": start, "end": end, "label": "LOC"}], "in xNairobi")
    assert tags_of([{"start": 2, "end": 11, "label": "LOC"}], "in Nairobi, ") == ["O", "B-LOC", "I-LOC"]
    assert tags_of([{"start": 0, "end": 5, "label": "PER"}], "Amina's") == ["B-PER", "O", "O"]
    assert tags_of([{"start": 0, "end": 7, "label": "PER"}], "Amina's") == ["B-PER", "I-PER", "I-PER"]


@pytest.mark.parametrize("unit", ["characters", "utf16", "bytes"])
def test_offsets_in_each_unit_give_the_same_tags(unit: str) -> None:
    spans = spans_of(SMILE, unit, PER="Amina Otieno", LOC="Nairobi")
    assert tags_of(spans, SMILE, tagger(unit=unit)) == ["O", "O", "B-PER", "I-PER", "O", "B-LOC"]


@pytest.mark.parametrize(
    ("unit", "given", "words"),
    [
        ("utf16", "characters", "if they count UTF-16 units, as JavaScript, Java and C# do: set offset_unit: utf16"),
        ("bytes", "characters", "if they count bytes of UTF-8, as Go and Rust do: set offset_unit: bytes"),
        ("characters", "utf16", "if they count characters: set offset_unit: characters of the head"),
    ],
)
def test_spans_off_the_words_name_the_unit_that_fits(unit: str, given: str, words: str) -> None:
    spans = spans_of(SMILE, unit, PER="Amina Otieno", LOC="Nairobi")
    with pytest.raises(RowError, match=words) as caught:
        tags_of(spans, SMILE, tagger(unit=given))
    assert "partial_words" not in str(caught.value)


def test_spans_off_the_words_that_fit_no_unit_name_none() -> None:
    for text in (SMILE, "plain Amina"):
        with pytest.raises(RowError) as caught:
            tags_of([{"start": 9, "end": 11, "label": "PER"}], text)
        assert "partial_words: widen" in str(caught.value)
        assert "offset_unit" not in str(caught.value)


def test_an_offset_inside_a_character_is_refused() -> None:
    with pytest.raises(RowError, match=r"the span 1-4 \(bytes\) begins or ends inside a character"):
        tags_of([{"start": 1, "end": 4, "label": "PER"}], "\u00e9 a", tagger(unit="bytes"))


def test_a_text_beside_the_offsets_decides_too() -> None:
    text = "\U0001f600 a b c"
    spans = [{**spans_of(text, "utf16", PER="b")[0], "text": "b"}]
    with pytest.raises(RowError, match=r'text is "b", but characters 5-6 are .*set offset_unit: utf16'):
        tags_of(spans, text)
    assert tags_of(spans, text, tagger(unit="utf16")) == ["O", "O", "B-PER", "O"]


def test_a_span_inside_a_word_is_widened_and_counted_where_the_head_says_so() -> None:
    head = tagger(partial_words="widen")
    assert tags_of([{"start": 4, "end": 7, "label": "LOC"}], "in xNairobi", head) == ["O", "B-LOC"]
    assert list(head.notes.values()) == [1]
    assert "take in the whole word" in next(iter(head.notes))
    assert tags_of([{"start": 2, "end": 10, "label": "LOC"}], "in Nairobi", head) == ["O", "B-LOC"]
    assert list(head.notes.values()) == [1]
    assert "take in the whole word" in next(iter(head.notes))


def test_a_refused_row_counts_no_repair() -> None:
    head = tagger(partial_words="widen")
    with pytest.raises(RowError):
        tags_of([{"start": 1, "end": 2, "label": "LOC"}, {"start": 3, "end": 99, "label": "LOC"}], "abc def", head)
    assert not head.notes


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["O", "O"], "2 tags for 3 words"),
        (["O", "O", "B-PERS"], r"unknown tag \"B-PERS\"; did you mean 'B-PER'\? Allowed: O, B-LOC"),
        (["O", "O", "X-PER"], "unknown tag"),
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
        ([{"start": 9, "end": 10, "label": "PER"}], "covers no word"),
    ],
)
def test_tags_of_another_form_are_refused_with_what_is_allowed(value: Any, words: str) -> None:
    with pytest.raises(RowError, match=words):
        tags_of(value, "Asha Juma Mombasani", tagger(TYPES))


@pytest.mark.parametrize(
    ("tags", "read"),
    [
        (["B-PER", "E-PER", "S-LOC"], ["B-PER", "I-PER", "B-LOC"]),
        (["B-PER", "L-PER", "U-LOC"], ["B-PER", "I-PER", "B-LOC"]),
        (["PER", "PER", "LOC"], ["B-PER", "I-PER", "B-LOC"]),
        (["PER", "O", "PER"], ["B-PER", "O", "B-PER"]),
    ],
)
def test_tags_of_every_scheme_are_found_and_read(tags: list[str], read: list[str]) -> None:
    column = HeadColumn("ner", "entities", "tags", ("entities",), None, None)
    kinds = ("LOC", "PER") if "LOC" in str(tags) else ("PER",)
    assert labels_of(column, [tags]) == tag_names(kinds)
    head = tagger()
    assert tags_of(tags, "a b c", head) == read
    assert bool(head.notes) == ("PER" in tags), "types alone could be meant otherwise, and are told"


def test_tags_that_the_configuration_lists_in_a_scheme_are_that_scheme() -> None:
    listed = ("O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC")
    assert entity_types(listed) == ("LOC", "PER")
    assert tags_of([1, 3, 8], "a b c", tagger(listed)) == ["B-PER", "I-PER", "B-LOC"]
    assert entity_types(["E-mail", "S-Bahn"]) == ("E-mail", "S-Bahn")


@pytest.mark.parametrize(
    "span",
    [
        [0, 4, "PER"], {"start": 0, "end": 4, "label": "PER", "token_start": 0}, {"start_offset": 0, "end_offset": 4,
        "label": "PER"}, {"start": 0, "end": 4, "text": "Asha", "labels": ["PER"]},
        {"start": 0, "end": 4, "entity_group": "PER", "word": "asha"},
    ],
)  # fmt: skip
def test_entities_are_read_as_tools_write_them(span: Any) -> None:
    column = HeadColumn("ner", "entities", "tags", ("entities",), None, None)
    assert labels_of(column, [[span]]) == ("O", "B-PER", "I-PER")
    assert tags_of([span], "Asha Juma") == ["B-PER", "O"]


def test_a_type_that_training_rows_lack_tags_its_words_and_is_counted_by_entity() -> None:
    head = tagger()
    words = words_by_space("a b c d")
    for value in (["B-ORG", "I-ORG", "O", "B-PER"], [{"start": 0, "end": 3, "label": "ORG"}, [6, 7, "PER"]]):
        codes = head.encode(value, "a b c d", words)
        assert is_unseen(codes).tolist() == [True, True, False, False]
        assert {span[:2] for span in spans(codes, tag_names(TYPES))} == {(0, 2), (3, 4)}
        assert codes[2:].tolist() == [0, 3]
    assert dict(head.unseen) == {'"ORG"': 2}


def test_two_entities_in_one_word_are_refused() -> None:
    spans = [{"start": 0, "end": 2, "label": "PER"}, {"start": 2, "end": 4, "label": "LOC"}]
    with pytest.raises(RowError, match='share the word "Asha"; an entity is made of whole words'):
        tags_of(spans, "Asha", tagger(partial_words="widen"))


def test_an_integer_tag_beyond_the_list_is_refused() -> None:
    with pytest.raises(RowError, match="tag 3 is beyond the 3 `labels`"):
        tags_of([3], "a", tagger(("O", "B-PER", "I-PER")))


def test_missing_tags_are_ignored() -> None:
    assert tagger().missing([(0, 1), (2, 3)]).tolist() == [-100, -100]


@settings(max_examples=300, deadline=None)
@given(value=SPANS | TAGS | st.integers() | st.text(max_size=3))
def test_any_label_becomes_well_formed_tags_or_is_refused(value: Any) -> None:
    try:
        names = tags_of(value, "Asha na-x")
    except RowError as error:
        str(error).encode()
        return
    assert names == repair(names)
