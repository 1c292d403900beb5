"""What is told of rows that were loaded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jenga.errors import DataError
from jenga.labels.column import HeadColumn
from jenga.modalities.text.columns import TextColumns, Texts
from jenga.rows.parse import Rows, SourceSpec
from jenga.rows.raw import RawRows
from jenga.rows.told import duplicate_ids, label_warnings, leaks, unlabelled
from jenga.types import HeadSpace

HEAD = HeadColumn("task", "label", "class", ("label",), None, None)
SPEC = SourceSpec("source", ("a",), (), (), "id", (HEAD,), TextColumns(("text",)))
SPACES = {HEAD.key: HeadSpace("task", "label", "class", 2, ("a", "b"))}


def rows(texts: list[str], labels: list[int]) -> Rows:
    names = list(map(str, range(len(texts))))
    return Rows(
        names, ["a"] * len(texts), list(range(len(texts))), Texts(texts), {HEAD.key: np.array(labels, np.int64)}
    )


def test_ids_that_rows_of_a_split_share_are_told() -> None:
    raw = [RawRows("a").add_all([{"id": 1}, {"id": "1"}, {"id": None}, {}]), RawRows("b").add_all([{"id": 1}])]
    assert list(duplicate_ids(SPEC, {"train": raw, "valid": raw[1:]})) == [
        "source: 3 train rows share 1 ids (1); predictions by id are ambiguous"
    ]


def test_texts_of_two_splits_are_told() -> None:
    splits = {"train": rows(["x", "y"], [0, 1]), "valid": rows(["x", "x", "z"], [0, 0, 0]), "test": rows(["z"], [1])}
    (told,) = leaks(SPEC, splits)
    assert told.startswith("source: 2 of 3 valid rows have a text that is in the training rows too")


def test_files_that_lack_an_optional_column_are_told_with_what_it_may_be_called() -> None:
    spec = replace(SPEC, heads=(replace(HEAD, absent="normal"),))
    raw = RawRows("file").add_all([{"text": "x", "lable": "a"}])
    (told,) = unlabelled(spec, {"train": [raw, RawRows("other").add_all([{"label": "a"}])]})
    assert "file has no column 'label'" in told
    assert "did you mean 'lable'" in told
    assert not list(unlabelled(SPEC, {"train": [raw]}))


def test_splits_without_rows_or_labels_are_told_and_nothing_to_learn_stops() -> None:
    train, empty = rows(["x", "y"], [0, 1]), rows([], [])
    assert label_warnings(SPEC, {"train": train, "valid": empty}, SPACES) == [
        "source: there are no valid rows; nothing shows whether the model learns more than its rows"
    ]
    assert label_warnings(SPEC, {"train": train, "valid": rows(["z"], [-100])}, SPACES) == [
        "source: head 'task.label': none of the 1 valid rows has a label; it gets no valid scores"
    ]
    with pytest.raises(DataError, match="none of the 2 training rows that are left"):
        label_warnings(SPEC, {"train": rows(["x", "y"], [-100, -100]), "valid": train}, SPACES)
