"""Sums of items are the same whether rows that are alike are put together or not."""

from __future__ import annotations

import numpy as np
import pytest
import seeds

from jenga.labels import item_sums as module
from jenga.labels.item_sums import item_sums


def test_many_items_are_summed_row_by_row_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(seeds.derived(0))
    yes, gold = draw.random((50, 3)) < 0.5, draw.integers(0, 2, (50, 3)).astype(float)
    gold[:5], gold[7, 1] = np.nan, np.nan
    found = []
    for few in (3, 2):
        monkeypatch.setattr(module, "_FEW", few)
        sums = item_sums(yes, gold)
        assert len(sums.cells) == 45
        counts = np.bincount(sums.cells, minlength=len(sums.parts)).astype(float)
        found.append({name: value.tolist() for name, value in sums.metrics(counts[None] @ sums.parts).items()})
    assert found[0] == found[1]
