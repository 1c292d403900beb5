"""Progress on a terminal: one bar a run. Elsewhere: one plain line a log record."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jenga.callbacks.base import BaseCallback, Outcome, TrainerView, TrainRecord


class ProgressCallback(BaseCallback):
    """Show steps, loss a task, speed and time left on `console`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.started = 0.0
        self.first_step = 0

    def on_train_begin(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Open the bar at the step where the run stands."""
        self.started, self.first_step = time.monotonic(), trainer.state.step
        if self.console.is_terminal:
            self.progress = Progress(
                TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
                TimeRemainingColumn(), console=self.console,
            )  # fmt: skip
            self.progress.add_task("", total=trainer.total_steps, completed=trainer.state.step)
            self.progress.start()

    def on_step_end(self, trainer: TrainerView, logs: TrainRecord | None, **kwargs: Any) -> None:
        """Move the bar; on a record, renew the words beside it."""
        step = trainer.state.step
        if self.progress is not None:
            self.progress.update(self.progress.task_ids[0], completed=step)
        if logs is None:
            return
        # A run that is rolled back may stand before where it was resumed.
        speed = max(step - self.first_step, 1) / max(time.monotonic() - self.started, 1e-9)
        losses = "  ".join(f"{task} {loss:.3f}" for task, loss in logs["task_loss"].items())
        words = f"loss {logs['loss']:.4f}  {losses}  {speed:.1f} steps/s"
        if self.progress is not None:
            self.progress.update(self.progress.task_ids[0], description=words)
        else:
            left = (trainer.total_steps - step) / speed
            self.console.print(
                f"step {step}/{trainer.total_steps}  epoch {logs['epoch']:.2f}  {words}  {left:.0f} s left",
                highlight=False, soft_wrap=True,
            )  # fmt: skip

    def on_evaluate(self, trainer: TrainerView, metrics: dict[str, float], **kwargs: Any) -> None:
        """Print the validation loss and the metric that picks the best model."""
        metric = trainer.config.evaluation.metric
        words = f"step {trainer.state.step}: eval_loss {metrics['eval_loss']:.4f}"
        if metric != "eval_loss":
            words += f"  {metric} {metrics[metric]:.4f}"
        self.console.print(words, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Close the bar."""
        self._stop()

    def on_close(self, outcome: Outcome, **kwargs: Any) -> None:
        """Give the terminal back, also after an error."""
        self._stop()

    def _stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
