from types import SimpleNamespace
from typing import Any

import pytest

from jenga.callbacks import Action
from jenga.errors import DataError
from jenga.tuning.pruning import Pruning


def at_step(step: int) -> Any:
    return SimpleNamespace(state=SimpleNamespace(step=step), total_steps=4)


def test_every_evaluation_is_reported_with_its_number_and_the_last_one_as_such() -> None:
    told: list[Any] = []
    pruning = Pruning("eval_f1", lambda *details: bool(told.append(details)))
    for step in (2, 4):
        assert pruning.on_evaluate(at_step(step), {"eval_f1": step / 10, "eval_loss": 9.0}) is None
    assert told == [(0, 0.2, False), (1, 0.4, True)]


def test_the_run_is_stopped_where_the_study_says_so() -> None:
    assert Pruning("eval_loss", lambda *_: True).on_evaluate(at_step(1), {"eval_loss": 1.0}) is Action.STOP


def test_the_count_goes_on_after_resuming() -> None:
    told: list[int] = []
    first = Pruning("eval_loss", lambda number, *_: bool(told.append(number)))
    first.on_evaluate(at_step(1), {"eval_loss": 1.0})
    second = Pruning("eval_loss", first.report)
    second.load_state_dict(first.state_dict())
    second.on_evaluate(at_step(2), {"eval_loss": 1.0})
    assert told == [0, 1]


def test_a_score_without_labelled_rows_is_an_error() -> None:
    with pytest.raises(DataError, match=r"tune\.metric: 'eval_f1' is undefined"):
        Pruning("eval_f1", lambda *_: False).on_evaluate(at_step(1), {"eval_loss": 1.0})
