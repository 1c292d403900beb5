import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from jenga.callbacks.progress import ProgressCallback

LOGS = {"epoch": 0.5, "loss": 1.25, "task_loss": {"intent": 1.0, "QA": 0.25}}


def shown(trainer: Any, *, terminal: bool) -> str:
    stream = io.StringIO()
    callback = ProgressCallback(Console(file=stream, force_terminal=terminal, width=150, color_system=None))
    callback.on_train_begin(trainer)
    for trainer.state.step in range(1, 5):
        callback.on_step_end(trainer, LOGS if trainer.state.step % 2 == 0 else None)
    callback.on_evaluate(trainer, {"eval_loss": 0.5, "eval_intent_topic_macro_f1": 0.75})
    callback.on_train_end(trainer)
    return stream.getvalue()


def test_plain_console_gets_one_line_a_record(make_view: Callable[..., Any]) -> None:
    lines = shown(make_view(), terminal=False).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("step 2/20  epoch 0.50  loss 1.2500  intent 1.000  QA 0.250  ")
    assert lines[0].endswith("s left")
    assert lines[2] == "step 4: eval_loss 0.5000"


def test_terminal_gets_a_bar_at_the_step_with_loss_by_task(make_view: Callable[..., Any]) -> None:
    text = shown(make_view(), terminal=True)
    assert "4/20" in text
    assert "QA 0.250" in text
    assert "step 4: eval_loss 0.5000" in text


def test_chosen_metric_is_shown_beside_the_loss(make_view: Callable[..., Any]) -> None:
    trainer = make_view(evaluation={"metric": "eval_intent_topic_macro_f1"})
    assert "eval_intent_topic_macro_f1 0.7500" in shown(trainer, terminal=False)


def test_resumed_run_counts_its_speed_from_where_it_resumed(
    make_view: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("jenga.callbacks.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    callback, trainer = ProgressCallback(Console(file=stream, width=150)), make_view()
    trainer.state.step = 10
    callback.on_train_begin(trainer)
    now[0], trainer.state.step = 2.0, 14
    callback.on_step_end(trainer, LOGS)
    assert "2.0 steps/s  3 s left" in stream.getvalue()


def test_close_gives_the_terminal_back_after_an_error_and_twice(make_view: Callable[..., Any]) -> None:
    callback = ProgressCallback(Console(file=io.StringIO(), force_terminal=True))
    callback.on_train_begin(make_view())
    assert callback.progress is not None
    bar = callback.progress
    callback.on_close("failed")
    callback.on_close("failed")
    assert bar.finished is False
    assert not bar.live.is_started


def test_a_record_behind_where_the_run_was_resumed_has_a_speed(make_view: Callable[..., Any]) -> None:
    """A rollback may go back further than that."""
    stream = io.StringIO()
    callback, trainer = ProgressCallback(Console(file=stream, width=150)), make_view()
    trainer.state.step = 5
    callback.on_train_begin(trainer)
    callback.on_step_end(trainer, LOGS)
    assert "step 5/20" in stream.getvalue()
