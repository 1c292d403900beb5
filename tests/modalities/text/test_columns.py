"""Texts of rows, and the columns that they stand in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jenga.errors import DataError
from jenga.labels.column import BlankError, HeadColumn, RowError
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.rows.raw import RawRows

SPEC = TextColumns(("text", "tokens"))


def raw(*rows: dict[str, Any]) -> RawRows:
    return RawRows("rows.jsonl", list(rows), list(range(1, len(rows) + 1)))


def read(spec: TextColumns, *rows: dict[str, Any], per_word: bool = False) -> Texts:
    reader = spec.reader(raw(*rows), learning=True, per_word=per_word)
    return reader.collect([reader.read(row) for row in rows])


def test_words_in_a_list_are_joined_and_kept_for_labels_of_words_alone() -> None:
    found = read(SPEC, {"tokens": ["Dar-es-Salaam", "."]}, {"tokens": "by hand"}, per_word=True)
    assert found.texts == ["Dar-es-Salaam .", "by hand"]
    assert found.words == [[(0, 13), (14, 15)], []], "those of a text are split where labels are read"
    assert found.as_words == [True, False]
    assert read(SPEC, {"tokens": ["a", "b"]}).words is None


def test_turns_of_a_conversation_are_lines_with_their_speakers() -> None:
    turns = [{"speaker": "agent", "text": "Hello"}, {"speaker": "caller", "text": "Hi"}]
    assert read(SPEC, {"text": turns}, {"text": "by hand"}).texts == ["agent: Hello\ncaller: Hi", "by hand"]
    with pytest.raises(RowError, match="turns have no words that a head could label"):
        read(SPEC, {"text": turns}, per_word=True)
    with pytest.raises(BlankError, match="column 'text' is empty"):
        read(SPEC, {"text": [{"speaker": "agent", "text": ""}]})


def test_tokens_that_say_where_words_of_the_text_stand_are_not_the_text() -> None:
    prodigy = {"text": "Asha", "tokens": [{"text": "Asha", "start": 0, "end": 4, "id": 0}]}
    spec = TextColumns(("tokens", "text"))
    assert read(spec, prodigy, per_word=True).texts == ["Asha"]
    assert spec.found(raw(prodigy)) == TextColumns(("text",))


def test_the_second_text_stands_beside_the_first() -> None:
    spec = TextColumns(("text",), "other")
    assert read(spec, {"text": "a", "other": ["b", "c"]}).pairs == ["b c"]
    assert read(SPEC, {"text": "a", "other": "b"}).pairs is None
    with pytest.raises(RowError, match="column 'other' is empty"):
        read(spec, {"text": "a", "other": ""})


def test_a_missing_column_is_told_with_what_to_set() -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl: text: .*'text' or 'tokens'; did you mean 'txt'\?.*columns.text"):
        read(SPEC, {"txt": "a"})
    with pytest.raises(DataError, match=r"second text: .*no column 'other'.*Set columns\.text_pair"):
        read(TextColumns(("text",), "other"), {"text": "a"})


def test_taken_and_joined_texts_stay_together() -> None:
    rows = [{"text": f"t{at}" if at else ["t", "0"], "other": f"o{at}"} for at in range(3)]
    found = read(TextColumns(("text",), "other"), *rows, per_word=True)
    back = Texts.joined([found.take(np.array([2, 0])), found.take(np.array([1]))])
    assert (back.texts, back.pairs) == (["t2", "t 0", "t1"], ["o2", "o0", "o1"])
    assert (back.words, back.as_words) == ([[], [(0, 1), (2, 3)], []], [False, True, False])
    assert found.take(np.array([], np.int64)) == Texts(pairs=[], words=[])


def test_rows_are_the_same_where_both_texts_are() -> None:
    keys = Texts(["a", "a", "a"], ["x", "y", "x"]).keys()
    assert keys[0] == keys[2] != keys[1]
    assert len(set(Texts(["a", "b", "a"]).keys())) == 2


def test_what_was_found_is_the_likeliest_column_that_is_there() -> None:
    spec = TextColumns(("text", "tokens"), "other", 7)
    assert spec.found(raw({"tokens": "a", "other": "b"})) == TextColumns(("tokens",), "other", 7)
    assert spec.found(raw({"tokens": "a"})) is None
    assert spec.found(raw({"body": "a", "other": "b"})) is None
    assert (spec.wanted, SPEC.wanted) == (("text", "other"), ("text",))


def test_a_bare_text_fills_the_column_of_texts_where_there_is_one() -> None:
    assert TextColumns(("tokens", "text")).given("a") == {"text": "a"}
    assert TextColumns(("tokens",)).given("a") == {"tokens": "a"}
    assert SPEC.given({"text": "a"}) is None


def test_heads_that_learn_the_text_itself_and_columns_of_nothing_are_refused() -> None:
    SPEC.check([HeadColumn("task", "head", "class", ("label",), None, None)])
    with pytest.raises(ValueError, match="a head learns texts"):
        SPEC.check([HeadColumn("lm", "text", "text", (), None, None)])
    with pytest.raises(ValueError, match="no column of texts"):
        TextColumns(()).check([])
    with pytest.raises(ValueError, match="max_length is 0"):
        TextColumns(("text",), max_length=0).check([])
