"""Labels of moments beside the moments that a backbone makes of a row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jenga.errors import DataError
from jenga.modalities.frames import learnable
from jenga.rows.batches import Encoded, EncodedSplit
from jenga.rows.parse import Rows
from jenga.types import HeadSpace

SPACE = HeadSpace("t", "h", "transcript", 2, ("a", "b"))


class Samples(Encoded):
    lengths = np.array([40, 20, 60])  # type: ignore[assignment]

    def inputs(self, index: Any) -> Any:
        return {}


def halves(frames: Any) -> Any:
    return SimpleNamespace(frames=lambda lengths: frames(lengths), frame_seconds=0.02)


def split_of(*texts: list[int]) -> EncodedSplit:
    rows = Rows(["r0", "r1", "r2"], ["f.jsonl"] * 3, [1, 2, 3], labels={("t", "h"): [np.array(each) for each in texts]})
    return EncodedSplit("t", rows, Samples(), {("t", "h"): SPACE})


def test_a_label_that_a_row_has_no_room_for_is_named_and_taken_out_of_batches() -> None:
    split = split_of([0, 1], [0, 1], [0])
    found, (warning,) = learnable(split, halves(lambda lengths: lengths // 20))
    assert warning.startswith("head 't.h': 1 of 3 train rows have more characters than the encoder makes frames of")
    assert warning.endswith("r1 (f.jsonl:2: 1 frames, 0.02 s)")
    assert found.batch([0, 1]).labels["t"]["h"].tolist() == [[0, 1], [-100, -100]]
    assert split.batch([1]).labels["t"]["h"].tolist() == [[0, 1]]


def test_labels_of_rows_to_judge_that_do_not_fit_are_told_and_stay() -> None:
    split = split_of([0, 1], [0, 1], [0, 1])
    found, (warning,) = learnable(split, halves(lambda lengths: lengths // 60), of="test")
    assert found is split
    assert "3 of 3 test rows have more characters" in warning
    assert "and are judged as they stand" in warning


def test_where_all_fit_or_nobody_knows_the_split_stays_as_it_is() -> None:
    split = split_of([0], [0], [0])
    assert learnable(split, halves(lambda lengths: lengths // 20)) == (split, [])
    assert learnable(split, halves(lambda lengths: None)) == (split, [])


def test_labels_none_of_which_can_be_learnt_stop_the_run() -> None:
    with pytest.raises(DataError, match=r"3 of 3 train rows .* No other row is left"):
        learnable(split_of([0, 1], [0, 1], [0, 1]), halves(lambda lengths: lengths // 60))
