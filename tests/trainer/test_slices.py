from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from jenga.config.schema import EvaluationConfig
from jenga.errors import ConfigError
from jenga.rows.batches import Encoded, EncodedSplit, Source
from jenga.rows.content import CellColumns
from jenga.rows.parse import Rows
from jenga.tasks import BaseTask
from jenga.trainer.slices import MAX_VALUES, check_slices, described, slice_columns, slices_of
from jenga.types import HeadSpace

SPACE = HeadSpace("t", "h", "class", 2, ("no", "yes"))


class Lengths(Encoded):
    unit = "tokens"

    def __init__(self, lengths: list[int]) -> None:
        self._lengths = np.array(lengths)

    @property
    def lengths(self) -> np.ndarray:
        return self._lengths

    def inputs(self, index: Any) -> Any:
        raise AssertionError("a slice needs no inputs")


def part(lengths: list[int], **marks: list[Any]) -> EncodedSplit:
    rows = Rows(ids=[str(at) for at in range(len(lengths))], marks=dict(marks))
    return EncodedSplit("s", rows, Lengths(lengths), {("t", "h"): SPACE})


def names(found: Any, by: str) -> dict[str, list[int]]:
    return {value: at.tolist() for value, at in found[by]}


def test_rows_fall_into_four_parts_by_length_of_about_as_many() -> None:
    found = names(slices_of(part([4, 1, 3, 2, 8, 7, 6, 5]), ["length"]), "length (tokens)")
    assert list(found) == ["1 to 3", "4 to 5", "6 to 7", "8"] or sum(map(len, found.values())) == 8
    assert sorted(row for rows in found.values() for row in rows) == list(range(8))


def test_where_all_rows_are_equally_long_or_alike_there_is_nothing_to_cut() -> None:
    assert slices_of(part([5, 5, 5], lang=["en", "en", "en"]), ["length", "lang"]) == {}


def test_values_of_a_column_are_slices_with_the_missing_ones_apart() -> None:
    found = slices_of(part([1, 1, 1, 1], lang=["sw", None, "en", "sw"]), ["lang"])
    assert names(found, "lang") == {"sw": [0, 3], "en": [2], "(none)": [1]}


def test_rare_values_of_a_column_are_one_slice_and_many_numbers_are_ranges() -> None:
    words = [f"w{i}" for i in range(MAX_VALUES + 5)] + ["w0"]
    found = names(slices_of(part([1] * len(words), word=words), ["word"]), "word")
    assert len(found) == MAX_VALUES + 1
    assert len(found["(others)"]) == 5
    numbers = [float(i) for i in range(100)]
    assert list(names(slices_of(part([1] * 100, age=numbers), ["age"]), "age")) == [
        "0 to 25", "26 to 50", "51 to 75", "76 to 99",
    ]  # fmt: skip


def test_each_slice_is_judged_as_the_head_is_and_one_without_labels_is_left_out() -> None:
    class Task:
        def metrics(self, space: HeadSpace, predictions: Any, targets: Any, *, scores: Any = None) -> dict[str, float]:
            return {"accuracy": float(np.mean(predictions == targets))}

    cut = slices_of(part([1, 1, 1, 1], lang=["sw", "sw", "en", "fr"]), ["lang"])
    targets, predictions = np.array([1, 0, 1, -100]), np.array([1, 1, 1, 1])
    (found,) = described(cast(BaseTask, Task()), SPACE, cut, predictions, targets, None)
    assert found == {
        "by": "lang",
        "rows": [
            {"value": "sw", "rows": 2, "metrics": {"accuracy": 0.5}},
            {"value": "en", "rows": 1, "metrics": {"accuracy": 1.0}},
        ],
    }


def test_a_column_that_no_row_has_is_refused_by_its_name() -> None:
    evaluation = EvaluationConfig(slices=["length", "lang", "langs"])
    assert slice_columns(evaluation) == ["lang", "langs"]
    source = Source("s", ("t",), {"train": part([1], lang=["en"], langs=[None])}, CellColumns(), "shared")
    with pytest.raises(ConfigError, match="no training row has a value in the column 'langs'"):
        check_slices(evaluation, [source])
