"""Labels taken away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from jenga.sentinel.masks import mask, rows_aside
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
    assert mask(given, {"r2": frozenset({("a", "one")}), "r9": frozenset({("a", "one")})})
    assert given.labels["a"]["one"].tolist() == [1, -100]
    assert torch.equal(given.labels["b"]["items"], before.labels["b"]["items"])
    assert kept.tolist() == [1, 2], "the rows' own labels are not written to"


def test_a_label_is_missing_as_its_kind_has_it() -> None:
    given = batch()
    assert mask(given, {"r1": frozenset({("b", "items")}), "r2": frozenset({("a", "tags")})})
    assert given.labels["b"]["items"].isnan().tolist() == [[True, True], [False, False]]
    assert given.labels["a"]["tags"].tolist() == [[1, 2], [-100, -100]]


def test_nothing_is_masked_of_rows_that_are_not_set_aside_or_are_so_in_whole() -> None:
    given = batch()
    assert not mask(given, {"r9": frozenset({("a", "one")}), "r1": frozenset({None, ("a", "gone")})})
    assert given.labels["a"]["one"].tolist() == [1, 2]


def split(entries: list[int]) -> Any:
    """Return rows r0 to r3, of which `entries` are made."""
    encoded = SimpleNamespace(rows_of=lambda index: [entries[at] for at in index])
    return Split(rows=SimpleNamespace(ids=["r0", "r1", "r2", "r3"]), encoded=encoded, size=len(entries))


class Split(SimpleNamespace):
    def __len__(self) -> int:
        return int(self.size)


def test_a_row_that_is_set_aside_is_left_out_with_all_of_its_entries() -> None:
    cells = {"r1": frozenset({None}), "r3": frozenset({("a", "one"), None}), "r0": frozenset({("a", "one")})}
    assert rows_aside(split([0, 1, 1, 2, 3]), cells, ()) == {1, 2, 4}
    assert rows_aside(split([0, 1, 2, 3]), {}, ()) == frozenset()


def test_a_row_without_its_label_is_left_out_where_a_task_would_take_it_for_normal() -> None:
    cells = {"r1": frozenset({("odd", "one")}), "r3": frozenset({("a", "one")})}
    assert rows_aside(split([0, 1, 2, 3]), cells, {"odd"}) == {1}
