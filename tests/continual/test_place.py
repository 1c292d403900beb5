"""Where a training in stages is."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from jenga.continual.place import Place
from jenga.rows.memory import Kept
from jenga.rows.stages import Stage

STAGES = [Stage(name, epochs, {}, {}, {}) for name, epochs in (("one", 2), ("two", 1), ("three", 3))]
PLACE = Place(STAGES, {}, 0, torch.device("cpu"), nullcontext, lambda: 1.0, {})


def test_a_memory_is_without_the_rows_that_are_left_out() -> None:
    splits: Any = {name: SimpleNamespace(splits={"train": SimpleNamespace(left_out=gone)})
              for name, gone in (("a", frozenset({1, 2})), ("b", frozenset()))}  # fmt: skip
    place = replace(PLACE, sources=splits)
    rows = [Kept(source, ("t",), row) for source in "ab" for row in range(3)]
    assert place.learnt(rows) == [rows[0], *rows[3:]]


def test_each_epoch_is_of_a_stage_and_the_last_of_each_ends_it() -> None:
    assert [PLACE.of(epoch) for epoch in range(8)] == [0, 0, 1, 2, 2, 2, 2, 2]
    assert [PLACE.ending(epoch) for epoch in range(7)] == [None, 0, 1, None, None, 2, None]
