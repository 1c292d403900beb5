"""Stop when the chosen metric no longer improves."""

from __future__ import annotations

from typing import Any, TypedDict

from jenga.callbacks.base import Action, BaseCallback, TrainerView


class StoppingMemory(TypedDict):
    """The best value so far, and the evaluations since."""

    best: float | None
    waited: int


class EarlyStopping(BaseCallback[StoppingMemory]):
    """Stop after `patience` evaluations in a row without an improvement of `metric` by more than `min_delta`.

    metric: None is the one that picks the best model.
    """

    def __init__(self, metric: str | None = None, *, patience: int, min_delta: float) -> None:
        self._given = metric
        self.patience = patience
        self.min_delta = min_delta
        self.best: float | None = None
        self.waited = 0

    def on_train_begin(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Learn which way the metric is better. Raises ConfigError where that is not known."""
        self.metric = self._given or trainer.config.evaluation.metric
        self.greater_is_better = trainer.greater_is_better(self.metric)

    def on_evaluate(self, trainer: TrainerView, metrics: dict[str, float], **kwargs: Any) -> Action | None:
        """Compare with the best value so far."""
        value = metrics[self.metric]
        gain = 0.0 if self.best is None else (value - self.best) * (1 if self.greater_is_better else -1)
        if self.best is None or gain > self.min_delta:
            self.best, self.waited = value, 0
            return None
        self.waited += 1
        return Action.STOP if self.waited >= self.patience else None

    def state_dict(self) -> StoppingMemory:
        """Return the best value and how long it has stood."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: StoppingMemory) -> None:
        """Go on counting."""
        self.best, self.waited = state["best"], state["waited"]
