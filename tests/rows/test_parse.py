"""Raw rows become texts, words and label arrays; an unusable row is set aside and says why."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jenga.errors import DataError
from jenga.labels.column import HeadColumn
from jenga.labels.tag_cells import tag_names
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.rows.parse import Rows, SourceSpec, parse_rows
from jenga.rows.raw import BadRow, RawRows
from jenga.types import HeadSpace

SPACES = {
    "class": ("negative", "positive"),
    "items": ("a", "b"),
    "number": ("value",),
    "tags": tag_names(["LOC", "PER"]),
}


def spec(*kinds: str, text: tuple[str, ...] = ("text", "tokens"), pair: str | None = None) -> SourceSpec:
    heads = tuple(HeadColumn("task", kind, kind, (kind, f"labels.{kind}"), None, None) for kind in kinds)
    return SourceSpec("source", ("f",), (), (), "id", heads, TextColumns(text, pair))


def parse(source: SourceSpec, *rows: dict[str, Any], with_labels: bool = True) -> tuple[Rows, list[BadRow]]:
    raw = RawRows("rows.jsonl", list(rows), list(range(11, 11 + len(rows))))
    spaces = {
        head.key: HeadSpace(head.task, head.head, head.kind, len(SPACES[head.kind]), SPACES[head.kind])
        for head in source.heads
    }
    return parse_rows(raw, source, spaces=spaces if with_labels else None, with_labels=with_labels)


def texts(rows: Rows) -> Texts:
    assert isinstance(rows.content, Texts)
    return rows.content


def test_one_row_with_labels_of_every_kind() -> None:
    row = {"id": 7, "text": "na Asha", "class": "positive", "labels": {"items": [1, None]}, "number": 2.5}
    entities = [{"start": 3, "end": 7, "label": "PER"}]
    rows, bad = parse(spec("class", "items", "number", "tags"), {**row, "tags": entities})
    assert bad == []
    assert (rows.ids, rows.files, rows.numbers, texts(rows).texts) == (["7"], ["rows.jsonl"], [11], ["na Asha"])
    assert (texts(rows).pairs, rows.content.words) == (None, [[(0, 2), (3, 7)]])
    labels = {head: value for (_, head), value in rows.labels.items()}
    assert labels["class"].tolist() == [1]
    np.testing.assert_array_equal(labels["items"], np.array([[1, math.nan]], np.float32))
    np.testing.assert_array_equal(labels["number"], np.array([[2.5]], np.float32))
    assert [tags.tolist() for tags in labels["tags"]] == [[0, 3]]
    dtypes = [labels[kind].dtype for kind in ("class", "items", "number")]
    assert dtypes == [np.int64, np.float32, np.float32]


def test_missing_labels_are_ignore_index_and_nan() -> None:
    blank = {"class": None, "items": "", "number": None, "tags": None}
    rows, bad = parse(spec("class", "items", "number", "tags"), {"text": "a b"}, {"text": "c", **blank})
    assert bad == []
    labels = {head: value for (_, head), value in rows.labels.items()}
    assert labels["class"].tolist() == [-100, -100]
    assert labels["items"].shape == (2, 2)
    assert np.isnan(labels["items"]).all()
    assert np.isnan(labels["number"]).all()
    assert [tags.tolist() for tags in labels["tags"]] == [[-100, -100], [-100]]


def test_a_list_of_words_is_joined_and_its_words_are_kept() -> None:
    rows, _ = parse(spec("tags"), {"tokens": ["Dar-es-Salaam", "New York", "."], "tags": ["B-LOC", "B-LOC", "O"]})
    assert rows.content.texts == ["Dar-es-Salaam New York ."]
    assert rows.content.words == [[(0, 13), (14, 22), (23, 24)]]
    assert rows.labels["task", "tags"][0].tolist() == [1, 1, 0]


def test_tags_of_a_plain_text_are_for_its_words_by_space() -> None:
    rows, _ = parse(spec("tags"), {"text": "in Dar-es-Salaam!", "tags": ["O", "B-LOC"]}, {"text": "a-b"})
    assert rows.content.words == [[(0, 2), (3, 17)], [(0, 1), (1, 2), (2, 3)]]


def test_words_are_split_only_for_tags() -> None:
    assert parse(spec("class"), {"tokens": ["a", "b"], "class": "positive"})[0].content.words is None


def test_without_labels_no_label_is_looked_at() -> None:
    rows, bad = parse(spec("class", "tags"), {"text": "a-b", "class": "nosuch", "tags": ["?"]}, with_labels=False)
    assert (bad, rows.labels) == ([], {})
    assert rows.content.words == [[(0, 1), (1, 2), (2, 3)]]


def test_ids_fall_back_to_numbers() -> None:
    rows, _ = parse(spec(), {"text": "a", "id": "x"}, {"text": "b"}, {"text": "c", "id": ""}, {"text": "d", "id": 0})
    assert rows.ids == ["x", "12", "13", "0"]


def test_a_blank_row_to_predict_is_told_even_where_those_to_learn_are_passed_over() -> None:
    raw = RawRows("f").add_all([{"text": ""}, {"text": "a"}])
    skipping = replace(spec("class"), skip_blank=True)
    rows, bad = parse_rows(raw, skipping, spaces=None, with_labels=False)
    assert (rows.numbers, [row.number for row in bad]) == ([2], [1])


def test_a_pair_needs_both_texts() -> None:
    rows, bad = parse(spec(pair="other"), {"text": "a", "other": "b"}, {"text": "a", "other": None})
    assert (texts(rows).pairs, len(bad)) == (["b"], 1)
    assert bad[0].reason == "column 'other' is empty; allowed: text"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": ""}, "column 'text' is empty"),
        ({"text": " \n"}, "column 'text' is empty"),
        ({}, "column 'text' is empty"),
        ({"text": []}, "column 'text' is empty"),
        ({"text": 5}, "column 'text' is 5; allowed: text, or a list of words"),
        ({"text": {"a": "b"}}, "allowed: text, or a list of words"),
        ({"text": ["a", ""]}, 'word 1 is ""; allowed: words that are not blank'),
        ({"text": ["a", 3]}, "word 1 is 3"),
        ({"text": "a\ud800"}, "half of a character"),
        ({"text": "a", "id": "\udfff"}, "column 'id' holds half of a character"),
        ({"text": "a", "class": 3}, "class 3 is not one of 2"),
        ({"text": "a", "tags": '[{"start": 0'}, "head 'task.tags': "),
        ({"text": "a", "tags": ["O", "O"]}, "2 tags for 1 words"),
    ],
)
def test_an_unusable_row_is_set_aside_with_its_reason(row: dict[str, Any], reason: str) -> None:
    rows, bad = parse(spec("class", "tags"), {"text": "good", "class": "positive"}, row, {"text": "fine"})
    assert rows.content.texts == ["good", "fine"]
    assert len(rows.labels["task", "class"]) == len(rows.labels["task", "tags"]) == len(rows.content.words or []) == 2
    assert [(each.file, each.number) for each in bad] == [("rows.jsonl", 12)]
    assert reason in bad[0].reason
    bad[0].raw.encode()


def test_rows_that_the_reader_refused_come_along_in_order() -> None:
    raw = RawRows("f", [{"text": ""}, {"text": "a"}], [1, 3], [BadRow("f", 2, "not JSON", "{")])
    rows, bad = parse_rows(raw, spec(), spaces=None, with_labels=False)
    assert [each.number for each in bad] == [1, 2]
    assert len(rows) == 1


def test_a_file_of_bad_rows_only_gives_empty_arrays() -> None:
    rows, bad = parse(spec("class", "items", "tags"), {"text": ""})
    assert (len(rows), len(bad)) == (0, 1)
    assert rows.labels["task", "class"].shape == (0,)
    assert rows.labels["task", "items"].shape == (0, 2)
    assert rows.labels["task", "tags"] == []


def test_no_text_column_is_a_data_error_with_the_columns_there_are() -> None:
    with pytest.raises(DataError, match=r"rows.jsonl: text: .*'text' or 'tokens'; did you mean 'txt'\?.*columns.text"):
        parse(spec(), {"txt": "a", "n": 1})
    with pytest.raises(DataError, match=r"no column 'other'.*columns\.text_pair"):
        parse(spec(pair="other"), {"text": "a"})


def test_repaired_tags_are_logged_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse(spec("tags"), {"text": "a b", "tags": ["O", "I-PER"]}, {"text": "a b", "tags": ["I-PER", "O"]})
    assert "rows.jsonl: head 'task.tags': 2 rows had an I- tag that continues no entity" in caplog.text


def test_take_and_joined_keep_every_column_aligned() -> None:
    source = spec("class", "items", "tags", pair="other")
    made = [
        {"id": str(at), "text": f"word{at} x", "other": f"o{at}", "class": at % 2, "items": [at % 2, 1], "tags": []}
        for at in range(4)
    ]
    for row in made:
        row["class"] = ("negative", "positive")[row["class"]]  # type: ignore[call-overload]
    rows, _ = parse(source, *made)
    back = Rows.joined([rows.take([3, 1]), rows.take(np.array([0]))])
    assert (back.ids, texts(back).texts, texts(back).pairs) == (
        ["3", "1", "0"],
        ["word3 x", "word1 x", "word0 x"],
        ["o3", "o1", "o0"],
    )
    assert (back.numbers, len(back.files)) == ([14, 12, 11], 3)
    assert back.labels["task", "class"].tolist() == [1, 1, 0]
    assert back.labels["task", "items"].tolist() == [[1, 1], [1, 1], [0, 1]]
    assert len(back.labels["task", "tags"]) == len(back.content.words or []) == 3
    empty = rows.take([])
    assert (len(empty), empty.labels["task", "items"].shape) == (0, (0, 2))
