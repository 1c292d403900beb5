"""What every callback is, what it is handed, and the registry of callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from jenga.config.schema import ExperimentConfig
from jenga.model import MultiTaskModel
from jenga.registry import Registry
from jenga.types import Batch


class TrainerState(Protocol):
    """Progress of a run: optimizer steps done, epochs finished, and the best value of `evaluation.metric` so far."""

    step: int
    epoch: int
    best_value: float | None
    best_step: int | None


class TrainerView(Protocol):
    """The trainer, as a callback sees it.

    `should_stop = True` ends training after this step, with its last model judged and saved. Only ever raised: False
    says that this callback does not ask, and takes back no other's stop.
    """

    state: TrainerState
    model: MultiTaskModel
    optimizer: torch.optim.Optimizer
    config: ExperimentConfig
    should_stop: bool
    total_steps: int
    folder: Path

    def greater_is_better(self, metric: str) -> bool:
        """Return whether a greater `metric` of an evaluation is better. Raises ConfigError where that is not known."""

    def save(self) -> Path:
        """Write a checkpoint now and return its folder."""


class BaseCallback:
    """Override any of the events. `**kwargs` leaves room for what later versions hand over.

    A callback with a memory returns it from `state_dict` (JSON types only) and takes it back in `load_state_dict`, so
    that a resumed run goes on as if it had never stopped.
    """

    def on_train_begin(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Before the first step, or the first one after resuming."""

    def on_train_end(self, trainer: TrainerView, **kwargs: Any) -> None:
        """After the last step, with the last checkpoint written."""

    def on_epoch_begin(self, trainer: TrainerView, epoch: int, **kwargs: Any) -> None:
        """Before the first step of `epoch` (from 0)."""

    def on_epoch_end(self, trainer: TrainerView, epoch: int, metrics: dict[str, float], **kwargs: Any) -> None:
        """After the last step of `epoch`, with the newest evaluation's metrics."""

    def on_batch_begin(self, trainer: TrainerView, batch: Batch, **kwargs: Any) -> None:
        """Before a forward pass in training."""

    def on_batch_end(self, trainer: TrainerView, batch: Batch, loss: torch.Tensor, **kwargs: Any) -> None:
        """After a backward pass; `loss` is this batch's share of the step's loss, detached."""

    def on_step_end(self, trainer: TrainerView, logs: dict[str, Any] | None, **kwargs: Any) -> None:
        """After an optimizer step; `logs` is the record just written to metrics.jsonl, if this step wrote one."""

    def on_evaluate(self, trainer: TrainerView, metrics: dict[str, float], **kwargs: Any) -> None:
        """After an evaluation on the validation rows."""

    def on_save(self, trainer: TrainerView, path: Path, **kwargs: Any) -> None:
        """After a checkpoint was written to `path`."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""


CALLBACK_REGISTRY: Registry[BaseCallback] = Registry("callback", entry_point_group="jenga.callbacks")
