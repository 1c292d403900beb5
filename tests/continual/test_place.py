"""Where a training in stages is."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from jenga.continual.place import Place
from jenga.rows.stages import Stage

STAGES = [Stage(name, epochs, {}, {}, {}) for name, epochs in (("one", 2), ("two", 1), ("three", 3))]
PLACE = Place(STAGES, {}, 0, torch.device("cpu"), nullcontext, lambda: 1.0, {})


def test_each_epoch_is_of_a_stage_and_the_last_of_each_ends_it() -> None:
    assert [PLACE.of(epoch) for epoch in range(8)] == [0, 0, 1, 2, 2, 2, 2, 2]
    assert [PLACE.ending(epoch) for epoch in range(7)] == [None, 0, 1, None, None, 2, None]
