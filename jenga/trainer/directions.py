"""Which metrics an evaluation gives, and which way each is better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from jenga.config.evaluation import EvaluationConfig
from jenga.errors import ConfigError, suggest
from jenga.labels.metric import Metric
from jenga.model import MultiTaskModel
from jenga.rows.batches import Source

LOSS = Metric("loss")


def metric_directions(
    evaluation: EvaluationConfig, model: MultiTaskModel, sources: Sequence[Source]
) -> dict[str, bool | None]:
    """Return by the name of each metric of an evaluation whether greater is better; None: its task does not say.

    That of `evaluation.metric` is known. Raises ConfigError where it is not, where there is no such metric, and where
    two metrics would have one name.
    """
    places: dict[str, str] = {}
    directions: dict[str, bool | None] = {"eval_loss": LOSS.greater_is_better}
    for name, place, metric, in_evaluation in _metrics(model, sources):
        if places.setdefault(name, place) != place:
            raise ConfigError(f"{place}: its metric '{name}' would have the name of one of {places[name]}; rename one")
        if in_evaluation:
            directions[f"eval_{name}"] = metric.greater_is_better
    chosen = evaluation.metric
    if chosen not in directions:
        raise ConfigError(
            f"evaluation.metric: unknown '{chosen}'{suggest(chosen, directions) or '.'} Known: {', '.join(directions)}"
        )
    directions[chosen] = _direction(chosen, directions[chosen], evaluation.greater_is_better)
    return directions


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
