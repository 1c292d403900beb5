"""Labels taken away."""

from __future__ import annotations

import torch

from jenga.sentinel.masks import has_labels, mask
from jenga.types import Batch


def batch() -> Batch:
    labels = {
        "a": {"one": torch.tensor([1, 2]), "tags": torch.tensor([[1, 2], [0, -100]])},
        "b": {"items": torch.tensor([[1.0, 0.0], [0.0, 1.0]])},
    }
    return Batch({}, labels, ["r1", "r2"])


def test_a_label_is_missing_and_the_others_stay() -> None:
    given, before = batch(), batch()
    kept = given.labels["a"]["one"]
    assert mask(given, {"r2": frozenset({("a", "one")}), "r9": frozenset({None})})
    assert given.labels["a"]["one"].tolist() == [1, -100]
    assert torch.equal(given.labels["b"]["items"], before.labels["b"]["items"])
    assert kept.tolist() == [1, 2], "the rows' own labels are not written to"


def test_a_row_loses_all_of_its_labels_as_their_kinds_have_it() -> None:
    given = batch()
    assert mask(given, {"r1": frozenset({None})})
    assert given.labels["a"]["one"].tolist() == [-100, 2]
    assert given.labels["a"]["tags"].tolist() == [[-100, -100], [0, -100]]
    assert given.labels["b"]["items"].isnan().tolist() == [[True, True], [False, False]]
    assert has_labels(given)
    mask(given, {"r2": frozenset({None})})
    assert not has_labels(given)


def test_nothing_is_masked_of_rows_that_are_not_set_aside() -> None:
    assert not mask(batch(), {"r9": frozenset({None})})
