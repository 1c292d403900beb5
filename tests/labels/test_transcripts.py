"""Transcripts: alphabets, codes, greedy reading and errors."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from jenga.labels.base import Moments
from jenga.labels.column import HeadColumn, RowError
from jenga.labels.transcripts import SPACE, TranscriptHead, Transcripts, least_frames, text_of
from jenga.types import HeadSpace

KIND = Transcripts()
COLUMN = HeadColumn("t", "h", "transcript", ("text",), None, None)


def space_of(*texts: str, column: HeadColumn = COLUMN) -> HeadSpace:
    labels = KIND.infer(column, list(texts), max_bad_fraction=0)
    return HeadSpace("t", "h", "transcript", len(labels), labels)


def codes(space: HeadSpace, *texts: Any, column: HeadColumn = COLUMN) -> tuple[Any, Any]:
    reader = KIND.reader(column, space)
    return reader.stack([reader.read(text, "", ()) for text in texts]), reader


def test_the_alphabet_is_that_of_the_rows_in_nfc_with_a_mark_for_the_blank() -> None:
    space = space_of("Cafe\u0301  b", "no")
    assert space.labels == (SPACE, "C", "a", "b", "f", "n", "o", "é")
    (row,), _ = codes(space, " Café\tb ")
    assert text_of(row, space) == "Café b"
    lower = replace(COLUMN, cells=replace(COLUMN.cells, lowercase=True))
    assert "C" not in space_of("Cab", column=lower).labels
    (row,), _ = codes(space_of("cab"), "CAB", column=lower)
    assert (row >= 0).all()


def test_blank_alone_is_missing() -> None:
    column, _ = KIND.settle(COLUMN, ["no", "none", ""])
    space = space_of("none")
    targets, _ = codes(space, "none", "", None, column=column)
    assert KIND.labelled(space, targets).tolist() == [True, False, False]


def test_characters_that_no_training_row_has_are_told_not_learnt_and_count_as_wrong() -> None:
    space = space_of("ab")
    targets, reader = codes(space, "aßbß", "ab")
    assert reader.unseen == {'"ß"': 2}
    assert text_of(targets[0], space) == "aßbß"
    batch = KIND.batches(targets, SimpleNamespace())([0, 1])  # type: ignore[arg-type]
    assert batch.tolist() == [[0, 1], [0, 1]]
    assert KIND.judge(space, [np.array([0, 1])] * 2, targets)["cer"] == 2 / 6


def test_a_character_outside_of_a_given_alphabet_sets_its_row_aside() -> None:
    given = replace(COLUMN, labels=("a", "b"))
    with pytest.raises(RowError, match=r'head \'t.h\': "c" is not in the alphabet \(a, b\)'):
        codes(space_of(column=given), "abc", column=given)


@pytest.mark.parametrize(("head", "message"), [({"labels": ["ab"]}, "no single"), ({"num_labels": 3}, "num_labels")])
def test_a_head_that_names_no_alphabet_is_refused(head: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TranscriptHead(name="h", **head)


def test_the_likeliest_path_is_read_without_blanks_and_repetitions_and_behind_the_row_nothing() -> None:
    path = [0, 2, 2, 0, 2, 1, 1, 0]
    logits = torch.full((len(path) + 2, 3), -5.0)
    logits[range(len(path)), path] = 5.0
    logits[len(path) :] = math.nan
    assert KIND.predict(logits, 0.5).tolist() == [1, 1, 0]
    assert KIND.predict(torch.full((3, 3), math.nan), 0.5).tolist() == []


def test_errors_are_shares_of_what_was_said() -> None:
    space = space_of("one two", "nine")
    targets, _ = codes(space, "one two", "nine", "")
    predictions, _ = codes(space, "one", "nin", "two")
    assert KIND.judge(space, predictions, targets) == {"wer": 2 / 3, "cer": 5 / 11}
    details = KIND.details(space, predictions, targets)
    assert details == {"warnings": []}
    assert KIND.errors(space, predictions, targets, ()).sizes.tolist() == [4 / 7, 1 / 4, 0]
    assert KIND.written(space, predictions, None) == ["one", "nin", "two"]
    silent = KIND.details(space, [targets[2]] * 3, targets)
    assert silent["warnings"] == ["hears nothing in 2 of 2 rows"]


def test_alike_neighbours_need_a_frame_between_and_what_needs_too_many_is_emptied() -> None:
    space = space_of("abc")
    targets, _ = codes(space, "abc", "aab", "abc")
    assert [least_frames(row) for row in targets] == [3, 4, 3]
    kept, unfit = KIND.fitting(targets, Moments(np.array([3, 3, 2]), 0.02, np.zeros(3, bool)))
    assert [each.tolist() for each in unfit.values()] == [[False, True, True], [False] * 3]
    assert [len(row) for row in kept] == [3, 0, 0]


def test_a_transcript_of_a_recording_that_is_cut_is_emptied() -> None:
    targets, _ = codes(space_of("abc"), "abc", "abc", "")
    kept, unfit = KIND.fitting(targets, Moments(np.array([9, 9, 9]), 0.02, np.array([False, True, True])))
    assert [each.tolist() for each in unfit.values()] == [[False] * 3, [False, True, False]]
    assert [len(row) for row in kept] == [3, 0, 0]


def test_the_majority_is_the_most_frequent_transcript_and_nothing_where_none_is_repeated() -> None:
    space = space_of("ab", "b")
    train, _ = codes(space, "ab", "b", "b", "")
    assert KIND.majority(space, train, train[:1])[0].tolist() == train[1].tolist()
    assert KIND.majority(space, train[:2], train[:1])[0].tolist() == []
