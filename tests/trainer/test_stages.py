"""The stages of a training, found in its rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jenga.errors import ConfigError, DataError
from jenga.run.experiment import load_config
from jenga.trainer.stages import stages_of

TASKS = [{"name": name, "type": "classification", "data_path": "x"} for name in ("mood", "topic", "call")]


class Split:
    """Rows with marks; packed: two in an entry."""

    def __init__(self, packed: bool = False, **marks: list[Any]) -> None:
        self.rows = SimpleNamespace(marks=marks)
        self.encoded = SimpleNamespace(packed=packed, rows_of=list)
        self.size = len(next(iter(marks.values())))

    def __len__(self) -> int:
        return self.size


def source(name: str, tasks: tuple[str, ...], **splits: Split) -> Any:
    return SimpleNamespace(name=name, tasks=tasks, splits=splits)


TEXTS = source(
    "texts", ("mood", "topic"),
    train=Split(part=["a", "b", "a", "c"], year=[2019, "2020", 2020.0, True]),
    test=Split(part=["a", "b", "c"], year=[2019, 2020, "True"]),
)  # fmt: skip
CALLS = source("calls", ("call",), train=Split(part=["a", "a"]), valid=Split(part=["a"]), test=Split(part=[]))


def found(*stages: dict[str, Any], sources: Any = (TEXTS, CALLS)) -> Any:
    given = {
        "model": {"base_model": "x"},
        "tasks": TASKS,
        "training": {"epochs": 7, "batch_size": 2, "scheduler": "linear", "weight_decay": 0.01},
    }
    named = [{"name": f"s{at}", **stage} for at, stage in enumerate(stages)]
    if {task for stage in stages for task in stage.get("tasks", [])} != {"mood", "topic", "call"}:
        named.append({"name": "rest"})
    config = load_config({**given, "stages": named})
    return stages_of(list(sources), config.model_copy(update={"stages": config.stages[: len(stages)]}))


def test_a_stage_has_the_rows_of_its_tasks_and_the_epochs_of_the_training() -> None:
    one, two = found({"tasks": ["topic"], "epochs": 2}, {})
    assert (one.name, one.epochs, two.epochs) == ("s0", 2, 7)
    assert one.tasks == {"texts": ("topic",)}
    assert {name: rows.tolist() for name, rows in two.rows.items()} == {"texts": [0, 1, 2, 3], "calls": [0, 1]}
    assert two.tasks == {"texts": ("mood", "topic"), "calls": ("call",)}


def test_it_is_judged_on_test_rows_and_on_valid_rows_where_there_are_none() -> None:
    (stage,) = found({"where": {"part": "a"}})
    assert {name: (split, rows.tolist()) for name, (split, rows) in stage.judged.items()} == {
        "texts": ("test", [0]), "calls": ("valid", [0]),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ({"part": "a"}, [0, 2]),
        ({"part": ["c", "b"]}, [1, 3]),
        ({"year": 2020}, [1, 2]),
        ({"year": ["2019", "2020"]}, [0, 1, 2]),
        ({"year": True}, [3]),
        ({"part": ["a", "b"], "year": 2020}, [1, 2]),
    ],
)
def test_rows_are_found_by_what_their_cells_say(where: dict[str, Any], rows: list[int]) -> None:
    (stage,) = found({"tasks": ["mood"], "where": where})
    assert stage.rows["texts"].tolist() == rows


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        ({"tasks": ["mood"], "where": {"part": "d"}}, r'no training row of texts has "d"; there are: "a", "b", "c"'),
        ({"tasks": ["mood"], "where": {"part": "c", "year": 2019}}, "no training row of texts has all of it"),
        ({"tasks": ["mood"], "where": {"part": "a", "year": 2020}}, r"texts has no test rows of it to judge it by"),
    ],
)
def test_a_stage_without_rows_is_an_error_that_says_what_there_is(stage: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        found(stage)


def test_a_column_that_no_row_has_is_told() -> None:
    other = source("texts", ("mood",), train=Split(part=[None, None]), test=Split(part=[None]))
    with pytest.raises(DataError, match="no row has a column 'part'"):
        found({"tasks": ["mood"], "where": {"part": 1}}, sources=[other])


def test_a_source_with_nothing_to_judge_it_by_is_an_error() -> None:
    with pytest.raises(DataError, match=r"stages\[s0\]: texts has no test or validation rows"):
        found({"tasks": ["mood"]}, sources=[source("texts", ("mood",), train=Split(part=["a"]))])


def test_packed_rows_cannot_be_told_apart() -> None:
    packed = source("texts", ("mood",), train=Split(packed=True, part=["a"]), test=Split(part=["a"]))
    with pytest.raises(ConfigError, match="packs several rows into an entry"):
        found({"tasks": ["mood"], "where": {"part": "a"}}, sources=[packed])
    assert np.array_equal(found({"tasks": ["mood"]}, sources=[packed])[0].rows["texts"], [0])
