"""Features of events, lined up with their rows."""

from __future__ import annotations

import numpy as np

from jenga.modalities.events.features import Features, RefinedFile, features_of
from jenga.rows.parse import Rows
from jenga.rows.raw import BadRow, RawRows


def test_features_are_looked_up_by_file_and_number() -> None:
    files = {
        "a": RefinedFile(np.array([1, 3, 4]), np.array([[1.0], [3], [4]], np.float32), [], []),
        "b": RefinedFile(np.array([3]), np.array([[30.0]], np.float32), [], []),
    }
    rows = Rows(ids=list("wxyz"), files=["b", "a", "a", "a"], numbers=[3, 4, 2, 1], labels={("t", "h"): np.arange(4)})
    kept, found = features_of(rows, files)
    assert kept.ids == ["w", "x", "z"]  # the refinery set line 2 of a aside
    assert kept.labels["t", "h"].tolist() == [0, 1, 3]
    assert found.features.tolist() == [[30.0], [4.0], [1.0]]


def test_batches_take_rows_in_the_order_asked_for() -> None:
    features = Features(np.arange(6, dtype=np.float32).reshape(3, 2))
    assert features.inputs([2, 0])["features"].tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert features.lengths.tolist() == [1, 1, 1]


def test_rows_of_one_file_that_lie_side_by_side_share_its_features() -> None:
    refined = RefinedFile(np.array([1, 3, 4, 6]), np.arange(4, dtype=np.float32)[:, None], [], [])
    for numbers, wanted, shared in (([3, 4, 5], [1.0, 2.0], True), ([1, 4], [0.0, 2.0], False), ([5, 7], [], False)):
        rows = Rows([str(each) for each in numbers], ["a"] * len(numbers), numbers)
        kept, found = features_of(rows, {"a": refined})
        assert found.features[:, 0].tolist() == wanted
        assert kept.numbers == [number for number in numbers if number in refined.numbers]
        assert np.shares_memory(found.features, refined.features) == shared


def test_a_piece_has_its_own_features_and_bad_rows_alone() -> None:
    bad = [BadRow("a", number, "broken", "{") for number in (2, 5)]
    refined = RefinedFile(np.array([1, 3, 4, 6]), np.arange(4, dtype=np.float32)[:, None], bad, ["told"])
    own = refined.of(RawRows("a", rows=[{}] * 2, numbers=[3, 4], bad=[bad[1]]))
    assert (own.numbers.tolist(), own.features.tolist()) == ([3, 4], [[1.0], [2.0]])
    assert (own.bad, own.warnings) == ([bad[1]], [])
    assert len(refined.of(RawRows("a")).numbers) == 0
