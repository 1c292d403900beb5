"""The score of each stage: a model, or class prototypes, judged on the rows that the stage is judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jenga.errors import ConfigError
from jenga.labels import kind_named
from jenga.labels.metric import Metric
from jenga.model import MultiTaskModel
from jenga.rows.batches import Key, Source
from jenga.rows.stages import Stage
from jenga.trainer.evaluate import Runner, SplitResult
from jenga.types import HeadSpace

Scores = dict[str, float | None]
"""A stage's score by head, as ``task.head``; None where it is undefined."""


class Judged(NamedTuple):
    """A head as a stage is judged by it: its source, its space, and the metric that stands for it."""

    source: str
    space: HeadSpace
    metric: Metric

    @property
    def name(self) -> str:
        """The head in continual.json."""
        return f"{self.space.task}.{self.space.head}"

    @property
    def key(self) -> Key:
        """The head by task and name."""
        return self.space.task, self.space.head


def judged_heads(stages: Sequence[Stage], sources: Mapping[str, Source], model: MultiTaskModel) -> list[list[Judged]]:
    """Return the heads that each stage is judged by, with their metrics: accuracy of classes, else the head's first.

    Raises ConfigError where they cannot be put into one score: of some greater is better and of others less, or it is
    not known; and for a stage of some rows of a source whose labels are their own text, which has only a loss of all.
    """
    found = []
    for stage in stages:
        heads = []
        for source, tasks in stage.tasks.items():
            split, rows = stage.judged[source]
            part = sources[source].splits[split]
            for space in part.spaces.values():
                if space.task not in tasks:
                    continue
                if kind_named(space.kind).from_text and len(rows) < len(part):
                    raise ConfigError(
                        f"stages[{stage.name}].where: head '{space.task}.{space.head}' is judged by the loss of all "
                        "rows of a file; give each stage a task with files of its own"
                    )
                heads.append(Judged(source, space, _metric(model, space)))
        found.append(heads)
    _check_directions([head for heads in found for head in heads])
    return found


def _metric(model: MultiTaskModel, space: HeadSpace) -> Metric:
    """What continual learning is measured by is accuracy; the mean over classes would count those of other stages."""
    declared = model.tasks[space.task].declared_metrics(space)
    if kind_named(space.kind).strata:
        return next((each for each in declared if each.name == "accuracy"), declared[0])
    return declared[0]


def _check_directions(heads: Sequence[Judged]) -> None:
    by_direction: dict[bool | None, Judged] = {head.metric.greater_is_better: head for head in heads}
    if len(by_direction) > 1 or None in by_direction:
        words = {True: "greater is better", False: "less is better", None: "not known which way it is better"}
        told = "; ".join(f"{head.name}: {head.metric.name}, {words[each]}" for each, head in by_direction.items())
        raise ConfigError(
            f"stages: heads have no score in common ({told}); train those of one direction in one run, and declare "
            "that of a metric of your own in its task"
        )


def model_scores(
    runner: Runner, stages: Sequence[Stage], heads: Sequence[Sequence[Judged]], sources: Mapping[str, Source]
) -> list[Scores]:
    """Return the scores of the model of `runner` by stage. Each split is gone through once."""
    results: dict[tuple[str, str], SplitResult] = {}
    for stage in stages:
        for source, (split, _) in stage.judged.items():
            if (source, split) not in results:
                results[source, split] = runner.evaluate([sources[source]], split)

    def score(head: Judged, split: str, rows: np.ndarray) -> float | None:
        result, task = results[head.source, split], runner.model.tasks[head.space.task]
        if head.key in result.judged_by_loss:
            return result.judged_by_loss[head.key].get(head.metric.name)
        scores = result.scores.get(head.key)
        found = task.metrics(
            head.space, _of(result.predictions[head.key], rows), _of(result.targets[head.key], rows),
            scores=None if scores is None else scores[rows],
        )  # fmt: skip
        return found.get(head.metric.name)

    return scores_by_stage(stages, heads, score)


def scores_by_stage(
    stages: Sequence[Stage],
    heads: Sequence[Sequence[Judged]],
    score: Callable[[Judged, str, np.ndarray], float | None],
) -> list[Scores]:
    """Return what `score` gives for each head on the rows, of which split, that its stage is judged by."""
    return [
        {head.name: score(head, *stage.judged[head.source]) for head in own}
        for stage, own in zip(stages, heads, strict=True)
    ]


def one_score(scores: Scores) -> float | None:
    """Return the score of a stage: the mean over its heads, None where one of them is undefined."""
    known = [each for each in scores.values() if each is not None]
    return sum(known) / len(known) if known and len(known) == len(scores) else None


def _of(column: Any, rows: np.ndarray) -> Any:
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows.tolist()]
