from collections.abc import Callable
from typing import Any

import pytest

from jenga.callbacks import Action
from jenga.callbacks.early_stopping import EarlyStopping


def stops_after(trainer: Any, callback: EarlyStopping, metric: str, values: list[float]) -> int | None:
    """Return after how many of `values` training stops; None: not at all."""
    callback.on_train_begin(trainer)
    for count, value in enumerate(values, start=1):
        if callback.on_evaluate(trainer, {metric: value}) is Action.STOP:
            return count
    return None


@pytest.mark.parametrize(
    ("metric", "greater", "values", "stop"),
    [
        ("eval_loss", False, [3.0, 2.0, 2.5, 2.4], 4),
        ("eval_loss", False, [3.0, 2.0, 2.5, 1.9, 1.8, 1.7], None),
        ("eval_QA_closing_macro_f1", True, [0.1, 0.2, 0.2, 0.2], 4),
        ("eval_QA_closing_macro_f1", True, [0.3, 0.2, 0.4, 0.3], None),
        ("eval_odd_mae", False, [0.1, 0.2, 0.3], 3),
        ("eval_odd_mae", True, [0.1, 0.2, 0.3], None),
    ],
)
def test_stops_when_patience_evaluations_brought_nothing_better(
    make_view: Callable[..., Any], metric: str, greater: bool, values: list[float], stop: int | None
) -> None:
    callback = EarlyStopping(metric, patience=2, min_delta=0.0)
    assert stops_after(make_view(directions={metric: greater}), callback, metric, values) == stop


def test_without_a_metric_it_follows_the_one_that_picks_the_model(make_view: Callable[..., Any]) -> None:
    view = make_view({"eval_score": True}, evaluation={"metric": "eval_score"})
    assert stops_after(view, EarlyStopping(patience=1, min_delta=0.0), "eval_score", [0.1, 0.2, 0.2]) == 3


def test_gain_within_min_delta_is_no_gain(make_view: Callable[..., Any]) -> None:
    callback = EarlyStopping("eval_loss", patience=2, min_delta=0.1)
    assert stops_after(make_view(), callback, "eval_loss", [1.0, 0.95, 0.91]) == 3


def test_small_gains_add_up_against_the_value_that_was_kept(make_view: Callable[..., Any]) -> None:
    callback = EarlyStopping("eval_loss", patience=2, min_delta=0.1)
    assert stops_after(make_view(), callback, "eval_loss", [1.0, 0.95, 0.85, 0.8, 0.7]) is None


def test_resumed_run_goes_on_counting(make_view: Callable[..., Any]) -> None:
    first = EarlyStopping("eval_loss", patience=2, min_delta=0.0)
    assert stops_after(make_view(), first, "eval_loss", [1.0, 1.1]) is None
    second = EarlyStopping("eval_loss", patience=2, min_delta=0.0)
    second.load_state_dict(first.state_dict())
    assert stops_after(make_view(), second, "eval_loss", [1.1]) == 1
