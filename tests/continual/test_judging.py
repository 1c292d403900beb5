"""The score of each stage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jenga.continual.judging import Judged, judged_heads, model_scores, one_score
from jenga.errors import ConfigError
from jenga.labels import kind_named
from jenga.labels.judge import head_metrics
from jenga.labels.metric import Metric
from jenga.rows.stages import Stage
from jenga.trainer.evaluate import SplitResult
from jenga.types import HeadSpace

WAY = HeadSpace("go", "way", "class", 2, ("up", "down"))
PRICE = HeadSpace("go", "price", "number", 1, ("price",))
SPANS = HeadSpace("tag", "names", "tags", 3, ("O", "B-x", "I-x"))
TEXT = HeadSpace("say", "next", "text", 0, ())


class Task:
    """Judges as a task without anything of its own does."""

    def __init__(self, *declared: Metric) -> None:
        self.declared = declared

    def declared_metrics(self, space: HeadSpace) -> tuple[Metric, ...]:
        return self.declared or kind_named(space.kind).metrics

    def metrics(self, space: HeadSpace, predictions: Any, targets: Any, *, scores: Any = None) -> dict[str, float]:
        return head_metrics(space, predictions, targets)


def model(**tasks: Task) -> Any:
    return SimpleNamespace(tasks={"go": Task(), "tag": Task(), "say": Task(), **tasks})


def sources(*spaces: HeadSpace, rows: int = 6) -> Any:
    class Split(SimpleNamespace):
        def __len__(self) -> int:
            return rows

    found = {(space.task, space.head): space for space in spaces}
    return {"s": SimpleNamespace(name="s", splits={"test": Split(spaces=found)})}


def stage(name: str, rows: Any, *tasks: str) -> Stage:
    return Stage(name, 1, {"s": tasks or ("go", "tag", "say")}, {"s": np.arange(3)}, {"s": ("test", np.array(rows))})


def test_classes_are_judged_by_accuracy_and_others_by_what_stands_for_them() -> None:
    (heads,) = judged_heads([stage("one", range(6))], sources(WAY, SPANS), model())
    assert [(head.name, head.metric.name) for head in heads] == [("go.way", "accuracy"), ("tag.names", "f1")]


def test_a_stage_is_judged_by_the_heads_of_its_tasks() -> None:
    found = judged_heads([stage("one", range(6), "go"), stage("two", range(6), "tag")], sources(WAY, SPANS), model())
    assert [[head.name for head in own] for own in found] == [["go.way"], ["tag.names"]]


@pytest.mark.parametrize(
    ("spaces", "tasks", "why"),
    [
        ((WAY, PRICE), {}, "go.way: accuracy, greater is better; go.price: mae, less is better"),
        ((WAY,), {"go": Task(Metric("fun"))}, "go.way: fun, not known which way it is better"),
    ],
)
def test_scores_of_two_directions_are_refused(spaces: Any, tasks: dict[str, Task], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        judged_heads([stage("one", range(6))], sources(*spaces), model(**tasks))


def test_a_loss_of_all_rows_is_none_of_some() -> None:
    assert judged_heads([stage("one", range(6))], sources(TEXT), model())
    with pytest.raises(ConfigError, match=r"stages\[one\].where: head 'say.next' is judged by the loss of all rows"):
        judged_heads([stage("one", range(3))], sources(TEXT), model())


def test_a_split_is_gone_through_once_and_each_stage_judged_on_its_rows() -> None:
    asked = []
    targets, predictions = np.array([0, 0, 1, 1, 0, -100]), np.array([0, 1, 1, 1, 0, 0])

    def evaluate(given: Any, split: str) -> SplitResult:
        asked.append(split)
        return SplitResult(
            rows=6, predictions={("go", "way"): predictions}, targets={("go", "way"): targets},
            scores={("go", "way"): np.ones((6, 2))},
        )  # fmt: skip

    runner: Any = SimpleNamespace(evaluate=evaluate, model=model())
    stages = [stage("one", [0, 1], "go"), stage("two", [2, 3, 4, 5], "go"), stage("three", [5], "go")]
    heads = judged_heads(stages, sources(WAY), model())
    assert model_scores(runner, stages, heads, sources(WAY))[:2] == [{"go.way": 0.5}, {"go.way": 1.0}]
    assert asked == ["test"]
    assert model_scores(runner, stages, heads, sources(WAY))[2] == {"go.way": None}, "there is no label"


def test_a_stage_of_several_heads_has_their_mean_and_none_where_one_has_none() -> None:
    assert one_score({"a": 0.25, "b": 0.75}) == 0.5
    assert one_score({"a": 0.25, "b": None}) is None
    assert one_score({}) is None


def test_a_head_is_named_as_in_the_record() -> None:
    assert Judged("s", WAY, Metric("accuracy")).name == "go.way"
