"""Which metrics an evaluation gives, and which way each is better."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jenga.config.evaluation import EvaluationConfig
from jenga.errors import ConfigError
from jenga.labels import kind_named
from jenga.labels.metric import Metric
from jenga.trainer.directions import chosen_metric, metric_directions, score_of
from jenga.types import HeadSpace


class Task:
    """What is asked of a task."""

    def __init__(self, *metrics: Metric) -> None:
        self.metrics = metrics

    def declared_metrics(self, space: HeadSpace) -> tuple[Metric, ...]:
        return self.metrics


def directions_of(tasks: dict[tuple[str, str], Task], **evaluation: Any) -> dict[str, bool | None]:
    """Return the directions of tasks by their name and that of their head, which read one source."""
    spaces = {(task, head): HeadSpace(task, head, "class", 2, ("no", "yes")) for task, head in tasks}
    source: Any = SimpleNamespace(
        tasks=list(dict.fromkeys(task for task, _ in tasks)), splits={"train": SimpleNamespace(spaces=spaces)}
    )
    model: Any = SimpleNamespace(tasks={task: made for (task, _), made in tasks.items()})
    return metric_directions(EvaluationConfig(**{"metric": "eval_loss", **evaluation}), model, [source])


def test_losses_and_declared_metrics_are_known_with_their_directions() -> None:
    found = directions_of(
        {("mood", "label"): Task(*kind_named("class").metrics), ("speech", "words"): Task(Metric("wer"))}
    )
    assert found == {
        "eval_loss": False, "eval_mood_loss": False, "eval_mood_label_macro_f1": True,
        "eval_mood_label_accuracy": True, "eval_mood_label_weighted_f1": True, "eval_speech_loss": False,
        "eval_speech_words_wer": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("eval_mod_loss", "evaluation.metric: unknown 'eval_mod_loss'; did you mean 'eval_mood_loss'? Known: eval_"),
        ("zzz", "evaluation.metric: unknown 'zzz'. Known: eval_loss, eval_mood_loss, eval_mood_label_wer"),
        ("eval_mood_label_loss", "evaluation.metric: unknown 'eval_mood_label_loss'"),
    ],
)
def test_an_unknown_metric_is_refused(metric: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        directions_of({("mood", "label"): Task(Metric("wer"))}, metric=metric)
    assert words in str(caught.value)


def test_a_direction_that_nobody_gave_is_asked_for_where_it_is_needed() -> None:
    tasks = {("speech", "words"): Task(Metric("wer"), Metric("net_mse"))}
    assert directions_of(tasks)["eval_speech_words_net_mse"] is None
    with pytest.raises(ConfigError, match=r"greater eval_speech_words_net_mse is better; set evaluation.greater_is"):
        directions_of(tasks, metric="eval_speech_words_net_mse")
    for said in (True, False):
        found = directions_of(tasks, metric="eval_speech_words_net_mse", greater_is_better=said)
        assert found["eval_speech_words_net_mse"] is said


def test_a_key_that_contradicts_the_metric_is_refused() -> None:
    tasks = {("speech", "words"): Task(Metric("wer"), Metric("f1"))}
    for name, better, wrong in (("wer", "smaller", True), ("f1", "greater", False)):
        metric = f"eval_speech_words_{name}"
        with pytest.raises(ConfigError, match=f"evaluation.greater_is_better: a {better} {metric} is better"):
            directions_of(tasks, metric=metric, greater_is_better=wrong)
        assert directions_of(tasks, metric=metric, greater_is_better=not wrong)[metric] is not wrong


@pytest.mark.parametrize(
    ("one", "other", "places"),
    [
        (("a", "b_c"), ("a_b", "c"), ("tasks[a].heads[b_c]", "tasks[a_b].heads[c]")),
        (("a", "b"), ("a_b", "c"), ("tasks[a].heads[b]", "tasks[a_b]")),
        (("a_b", "c"), ("a", "b"), ("tasks[a_b]", "tasks[a].heads[b]")),
        (("a", "x"), ("a_y", "x"), None),
    ],
)
def test_metrics_of_one_name_are_refused_with_both_places(
    one: tuple[str, str], other: tuple[str, str], places: tuple[str, str] | None
) -> None:
    tasks = {one: Task(Metric("f1")), other: Task(Metric("f1"))}
    if places is None:
        assert len(directions_of(tasks)) == 5
        return
    with pytest.raises(ConfigError, match="rename one") as caught:
        directions_of(tasks)
    assert all(place in str(caught.value) for place in places)


def test_a_metric_named_by_a_label_may_not_be_that_of_another_head() -> None:
    of_label = Task(Metric("dos_recall", greater_is_better=True), Metric("recall"))
    tasks = dict.fromkeys((("t", "kind"), ("t", "kind_dos")), of_label)
    with pytest.raises(ConfigError, match=r"tasks\[t\].heads\[kind_dos\]: its metric 't_kind_dos_recall' would have"):
        directions_of(tasks)


def test_a_task_that_declares_no_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tasks\[t\].heads\[h\]: Task.declared_metrics names no metric"):
        directions_of({("t", "h"): Task()})


def made(*heads: tuple[str, Task], by_answers: bool = True, calibrated: bool = False) -> tuple[Any, list[Any]]:
    """Return a model and its source, with a head of each kind of labels."""
    spaces = {(f"t{at}", "h"): HeadSpace(f"t{at}", "h", kind, 2, ("a", "b")) for at, (kind, _) in enumerate(heads)}
    tasks = {f"t{at}": task for at, (_, task) in enumerate(heads)}
    for task in tasks.values():
        task.calibrated = calibrated  # type: ignore[attr-defined]
    encoders = {"text": SimpleNamespace(recipe=SimpleNamespace(by_answers=by_answers))}
    source = SimpleNamespace(tasks=list(tasks), splits={"train": SimpleNamespace(spaces=spaces)})
    return SimpleNamespace(tasks=tasks, encoders=encoders), [source]


F1, MAE = Metric("f1"), Metric("mae")


def test_answers_pick_the_best_model_where_all_are_classes_or_entities_of_text() -> None:
    heads = ("class", Task(F1)), ("tags", Task(F1))
    assert chosen_metric("auto", *made(*heads)) == "eval_score"
    assert chosen_metric("eval_loss", *made(*heads)) == "eval_loss"
    assert chosen_metric("auto", *made(*heads, ("items", Task(F1)))) == "eval_loss", "its thresholds are chosen later"
    assert chosen_metric("auto", *made(*heads, ("class", Task(MAE)))) == "eval_loss", "a user's own, of errors"
    assert chosen_metric("auto", *made(*heads, by_answers=False)) == "eval_loss"
    assert chosen_metric("auto", *made(*heads, calibrated=True)) == "eval_loss"
    assert chosen_metric("auto", *made(*heads, ("class", Task()))) == "eval_loss", "it is refused by name later"


def test_the_score_is_the_mean_of_what_each_head_is_judged_by_first() -> None:
    model, (source,) = made(("class", Task(F1, MAE)), ("tags", Task(F1)), ("tags", Task(F1)))
    spaces = source.splits["train"].spaces.values()
    assert score_of({"t0_h_f1": 0.5, "t0_h_mae": 9.0, "t1_h_f1": 1.0}, spaces, model) == 0.75
    assert score_of({"t0_h_mae": 0.1, "t1_h_f1": 0.5}, spaces, model) == 0.75, "no entity, and none found"
    assert score_of({}, spaces, model) is None
    assert metric_directions(EvaluationConfig(metric="eval_score"), model, [source])["eval_score"] is True
    with pytest.raises(ConfigError, match=r"eval_score is a mean .* tasks\[t0\].heads\[h\] is judged by mae"):
        metric_directions(EvaluationConfig(metric="eval_score"), *made(("number", Task(MAE))))
