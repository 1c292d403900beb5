"""Words in columns."""

from __future__ import annotations

import pytest

from jenga.rows.conll import looks_like_conll, read_conll
from jenga.rows.raw import RawRows


def rows_of(text: str, *, universal: bool = False) -> RawRows:
    raw = RawRows("f")
    read_conll(raw, text, universal=universal)
    return raw


def test_a_sentence_is_a_row_of_its_columns() -> None:
    first = "-DOCSTART- -X- O O\n\nAsha NNP I-NP B-PER\nsings VBZ I-VP O\n\n\n"
    raw = rows_of(f"{first}in IN I-PP O\nLamu NNP I-NP B-LOC")
    assert raw.numbers == [3, 7]
    assert raw.rows[0] == {
        "tokens": ["Asha", "sings"], "ner_tags": ["B-PER", "O"], "column_1": ["Asha", "sings"],
        "column_2": ["NNP", "VBZ"], "column_3": ["I-NP", "I-VP"], "column_4": ["B-PER", "O"],
    }  # fmt: skip
    assert raw.rows[1]["ner_tags"] == ["O", "B-LOC"]


def test_tabs_part_words_that_hold_blanks() -> None:
    assert rows_of("5 000\tO\r\nkm\tB-UNIT\r\n").rows[0]["tokens"] == ["5 000", "km"]


def test_comments_are_left_out_but_not_the_word() -> None:
    raw = rows_of("# id 7f3 domain=en\n# O\nAsha B-PER\n\n# text\nAsha B-PER\n")
    assert [row["tokens"] for row in raw.rows] == [["#", "Asha"], ["Asha"]]


def test_a_sentence_with_an_odd_line_is_set_aside_with_its_place() -> None:
    raw = rows_of("a O\nb O\n\nc O\nd\n\ne O\n")
    assert [row["tokens"] for row in raw.rows] == [["a", "b"], ["e"]]
    assert [str(bad) for bad in raw.bad] == ["f:4: line 5 has 1 columns, most lines have 2"]


def test_words_alone_have_no_tags() -> None:
    assert rows_of("Asha\nsings\n").rows == [{"tokens": ["Asha", "sings"], "column_1": ["Asha", "sings"]}]


def test_conll_u_has_its_words_in_the_second_column_and_parts_of_words_only() -> None:
    lines = ["# text = vamos al mar", "1 vamos ir VERB", "2-3 al _ _", "2 a a ADP", "3 el el DET", "4 mar mar NOUN"]
    raw = rows_of("\n".join([lines[0], *(line.replace(" ", "\t") for line in lines[1:])]), universal=True)
    assert raw.rows[0]["tokens"] == ["vamos", "a", "el", "mar"]
    assert raw.rows[0]["column_4"] == ["VERB", "ADP", "DET", "NOUN"]
    assert "ner_tags" not in raw.rows[0]


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("Asha B-PER\nsings O\n\nin O\n", True),
        ("Asha\tNNP\tS-PER\nsings\tVBZ\tO\n", True),
        ("We are good\nBlood group O\nNo\n", False),
        ("Group O\nType O\n", False),
        ("", False),
    ],
)
def test_running_text_does_not_look_like_words_with_tags(text: str, looks: bool) -> None:
    assert looks_like_conll(text) is looks
