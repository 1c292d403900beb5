"""Which metrics an evaluation gives, and which way each is better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from jenga.config.evaluation import EvaluationConfig
from jenga.errors import ConfigError, suggest
from jenga.labels import kind_named
from jenga.labels.metric import Metric
from jenga.model import MultiTaskModel
from jenga.rows.batches import Source
from jenga.types import HeadSpace

LOSS = Metric("loss")
SCORE = "eval_score"
_AUTO, _LOSS = "auto", "eval_loss"


def chosen_metric(metric: str, model: MultiTaskModel, sources: Sequence[Source]) -> str:
    """Return `evaluation.metric`, and of ``auto`` what it comes to for these heads and encoders.

    The score is of answers as they are, so that heads whose thresholds are chosen behind the training have none.
    """
    if metric != _AUTO:
        return metric
    heads = [(model.tasks[key[0]], space) for each in sources for key, space in each.splits["train"].spaces.items()]
    rises = all(
        [each.greater_is_better for each in task.declared_metrics(space)[:1]] == [True] for task, space in heads
    )
    final = all(not task.calibrated and kind_named(space.kind).untuned(space, 0.5) is None for task, space in heads)
    by_answers = all(each.recipe.by_answers for each in model.encoders.values())
    return SCORE if heads and rises and final and by_answers else _LOSS


def score_of(metrics: Mapping[str, float], heads: Iterable[HeadSpace], model: MultiTaskModel) -> float | None:
    """Return the mean over `heads` of the metric that each is judged by first; None where no row judges any.

    It counts as 1 where it alone is undefined, as F1 is where there is no entity and none is found: the mean is to be
    of the same heads at each evaluation.
    """
    found = []
    for each in heads:
        names = [f"{each.task}_{each.head}_{metric.name}" for metric in model.tasks[each.task].declared_metrics(each)]
        if any(name in metrics for name in names):
            found.append(metrics.get(names[0], 1.0))
    return sum(found) / len(found) if found else None


def metric_directions(
    evaluation: EvaluationConfig, model: MultiTaskModel, sources: Sequence[Source]
) -> dict[str, bool | None]:
    """Return by the name of each metric of an evaluation whether greater is better; None: its task does not say.

    That of `evaluation.metric` is known. Raises ConfigError where it is not, where there is no such metric, and where
    two metrics would have one name.
    """
    places: dict[str, str] = {}
    directions: dict[str, bool | None] = {_LOSS: LOSS.greater_is_better}
    for name, place, metric, in_evaluation in _metrics(model, sources):
        if places.setdefault(name, place) != place:
            raise ConfigError(f"{place}: its metric '{name}' would have the name of one of {places[name]}; rename one")
        if in_evaluation:
            directions[f"eval_{name}"] = metric.greater_is_better
    chosen = chosen_metric(evaluation.metric, model, sources)
    if chosen == SCORE:
        _check_score(model, sources)
        directions[SCORE] = True
    if chosen not in directions:
        raise ConfigError(
            f"evaluation.metric: unknown '{chosen}'{suggest(chosen, directions) or '.'} Known: {', '.join(directions)}"
        )
    directions[chosen] = _direction(chosen, directions[chosen], evaluation.greater_is_better)
    return directions


def _check_score(model: MultiTaskModel, sources: Sequence[Source]) -> None:
    for source in sources:
        for (task, head), space in source.splits["train"].spaces.items():
            first = model.tasks[task].declared_metrics(space)[0]
            if first.greater_is_better is not True:
                raise ConfigError(
                    f"evaluation.metric: {SCORE} is a mean of what is better the greater it is, and tasks[{task}]."
                    f"heads[{head}] is judged by {first.name}; choose eval_loss or a metric of one head"
                )


def greater_is_better(directions: Mapping[str, bool | None], metric: str) -> bool:
    """Return whether a greater `metric` is better. Raises ConfigError where `directions` do not say."""
    greater = directions.get(metric)
    if greater is None:
        known = [name for name, each in directions.items() if each is not None]
        raise ConfigError(
            f"'{metric}': not known which way it is better{suggest(metric, known) or '.'} Known: {', '.join(known)}"
        )
    return greater


def _metrics(model: MultiTaskModel, sources: Sequence[Source]) -> Iterator[tuple[str, str, Metric, bool]]:
    """Yield each metric's name without its split, where it comes from, and whether evaluations give it.

    The loss of a single head is in training's records alone, but these are tracked beside the evaluations.
    """
    for source in sources:
        for task in source.tasks:
            yield f"{task}_{LOSS.name}", f"tasks[{task}]", LOSS, True
        for (task, head), space in source.splits["train"].spaces.items():
            place = f"tasks[{task}].heads[{head}]"
            yield f"{task}_{head}_{LOSS.name}", place, LOSS, False
            declared = model.tasks[task].declared_metrics(space)
            if not declared:
                raise ConfigError(f"{place}: {type(model.tasks[task]).__name__}.declared_metrics names no metric")
            yield from ((f"{task}_{head}_{metric.name}", place, metric, True) for metric in declared)


def _direction(metric: str, declared: bool | None, said: bool | None) -> bool:
    if declared is None and said is None:
        raise ConfigError(
            f"evaluation.metric: its task does not say whether a greater {metric} is better; set "
            "evaluation.greater_is_better to true or false, or name it in the task's declared_metrics as "
            "Metric(name, greater_is_better=...)"
        )
    if declared is not None and said not in (None, declared):
        better = "greater" if declared else "smaller"
        raise ConfigError(f"evaluation.greater_is_better: a {better} {metric} is better; remove the key")
    return bool(said if declared is None else declared)
