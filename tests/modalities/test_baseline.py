"""What every baseline is asked, and when it is not."""

from __future__ import annotations

import numpy as np
import pytest

from jenga.modalities.baseline import Baseline
from jenga.modalities.events.features import Features
from jenga.rows.batches import EncodedSplit
from jenga.rows.parse import Rows
from jenga.types import HeadSpace

SPACE = HeadSpace("task", "head", "class", 2, ("a", "b"))


class Told(Baseline):
    """Answers with what it was asked."""

    words = "an echo"

    def _metrics(self, space: HeadSpace, normal: int | None) -> dict[str, float]:
        return {"size": space.size, "normal": -1 if normal is None else normal}


def split(*targets: int) -> EncodedSplit:
    rows = Rows(ids=[""] * len(targets), labels={("task", "head"): np.array(targets)})
    return EncodedSplit("rows", rows, Features(np.zeros((len(targets), 1), np.float32)), {})


def test_a_baseline_is_asked_where_both_parts_have_labels() -> None:
    made = Told(split(0, -100), split(-100, 1))
    assert made.metrics(SPACE) == {"size": 2, "normal": -1}
    assert made.metrics(SPACE, normal=1) == {"size": 2, "normal": 1}


@pytest.mark.parametrize(("train", "test"), [((-100, -100), (0, 1)), ((0, 1), (-100,))])
def test_without_a_label_in_either_part_there_are_no_metrics(train: tuple[int, ...], test: tuple[int, ...]) -> None:
    assert Told(split(*train), split(*test)).metrics(SPACE) == {}
