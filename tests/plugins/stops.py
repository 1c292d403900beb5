"""Runs that end on their way."""

from __future__ import annotations

import signal
from typing import Any

from jenga.callbacks import BaseCallback


class StopAt(BaseCallback):
    """Interrupts at a step, as Ctrl-C does; the user presses it once, whatever is resumed."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        if trainer.state.step == self.step:
            signal.raise_signal(signal.SIGINT)
