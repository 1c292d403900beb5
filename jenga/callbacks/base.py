"""What every callback is, what it is handed, and the registry of callbacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Generic, Literal, NotRequired, Protocol, TypedDict, TypeVar

import torch

from jenga.config.optimization import NamedPart
from jenga.config.schema import ExperimentConfig
from jenga.model import MultiTaskModel
from jenga.optimizers.groups import Group
from jenga.processes import Processes
from jenga.registry import Registry
from jenga.rows.batches import Source
from jenga.types import Batch, TaskOutput

Memory = TypeVar("Memory", bound=Mapping[str, object])
"""What a callback remembers, such as a TypedDict: numbers, text, tensors, and lists and dicts of them."""

Outcome = Literal["finished", "failed", "interrupted"]
"""How a run ended, as run.json has it."""


class Action(IntEnum):
    """What a hook may ask for; where several callbacks ask, the greatest is done.

    SKIP, before an optimizer step: drop the gradients. The step counts, the weights and the optimizer stay as they are.
    UNDO, before one, by a callback that `undoes`: take back all that came of this turn, and never take it.
    ROLLBACK, before or after one: go back to the newest checkpoint from before this step, and never take its rows'
    turn; `GoBack` says to which one. STOP, anywhere: end the run as `should_stop` does; before an optimizer step, that
    one is skipped.
    """

    SKIP = 1
    UNDO = 2
    ROLLBACK = 3
    STOP = 4


@dataclass(frozen=True)
class GoBack:
    """A rollback to the chosen `checkpoint`, from before this step, when `best` was the best model (None: there was
    none).

    `place`: of the turn that is never taken, as `on_step_begin` has it; None: all are, and whoever asks has to see to
    it that the run goes another way. Turns that were undone at this very step are taken again.
    """

    checkpoint: Path
    best: Path | None
    place: tuple[int, int] | None


Answer = Action | GoBack | None
"""What a hook returns."""


class TrainRecord(TypedDict):
    """A training record of metrics.jsonl: means over the steps since the one before."""

    event: Literal["train"]
    step: int
    epoch: float
    loss: float
    task_loss: dict[str, float]
    head_loss: dict[str, dict[str, float]]
    teacher_loss: NotRequired[dict[str, float]]
    task_weight: NotRequired[dict[str, float]]
    task_cosine: NotRequired[dict[str, float]]
    task_grad_norm: NotRequired[dict[str, float]]
    grad_norm: float
    learning_rate: dict[str, float]
    rows: int
    time_s: float


class TrainerState(Protocol):
    """Progress of a run: optimizer steps done, epochs finished, and the best value of `evaluation.metric` so far."""

    step: int
    epoch: int
    best_value: float | None
    best_step: int | None


class TrainerView(Protocol):
    """The trainer, as a callback sees it.

    `should_stop = True` ends training after this step, with its last model judged and saved. Only ever raised: False
    says that this callback does not ask, and takes back no other's stop. A hook that returns `Action.STOP` asks for
    the same.
    """

    model: MultiTaskModel
    optimizer: torch.optim.Optimizer
    config: ExperimentConfig
    should_stop: bool
    folder: Path
    sources: dict[str, Source]
    processes: Processes

    @property
    def state(self) -> TrainerState:
        """How far the run is."""

    @property
    def total_steps(self) -> int:
        """Optimizer steps that the run will have."""

    def greater_is_better(self, metric: str) -> bool:
        """Return whether a greater `metric` of an evaluation is better. Raises ConfigError where that is not known."""

    def save(self) -> Path:
        """Write a checkpoint now and return its folder."""

    def tell(self, event: str, **more: Any) -> None:  # the fields of a JSON record, not options
        """Write a record of `event`, which happened at this step, to metrics.jsonl."""


class MakeOptimizer(Protocol):
    """Makes an optimizer of the run's kind, or of another."""

    def __call__(self, groups: Sequence[Group], /, named: str | NamedPart | None = None) -> torch.optim.Optimizer:
        """Return the optimizer `named` over `groups`, or else what ``training.optimizer`` names.

        Raises ConfigError where there is none of this name.
        """


class BaseCallback(Generic[Memory]):
    """Override any of the events. `**kwargs` leaves room for what later versions hand over.

    An event returns None, or the `Action` that it asks for: STOP anywhere, the others where they are named. `undoes`:
    whether it may ask for UNDO; it then keeps what it remembers of an undone turn right itself.

    A callback with a memory returns it from `state_dict` (JSON's types and tensors, in lists and dicts) and takes it
    back in `load_state_dict`, so that a run that is resumed or rolled back goes on as if nothing had happened.
    """

    alone: bool = False
    """Whether it has to see all rows of a step, so that a run of several processes cannot have it."""

    undoes: bool = False

    def make_optimizer(
        self, groups: Sequence[Group], names: Mapping[torch.nn.Parameter, str], make: MakeOptimizer
    ) -> torch.optim.Optimizer | None:
        """Return the optimizer that the run is to have in place of ``make(groups)``; None: this callback gives none.

        groups: the trained parameters by their rates and decays, as `training` says. names: of these parameters, as
        ``model.named_parameters()`` has them, and ``balance.*`` of what a balance of losses learns. What is returned
        keeps every parameter in its ``param_groups``, each group with a `name` and an `lr`, which the schedule moves
        and records tell. It is called before anything else, and more than once: first with stand-ins of the parameters,
        4 long at most, on which the optimizer is tried and taken to a checkpoint and back.
        """

    def on_train_begin(self, trainer: TrainerView, **kwargs: Any) -> Action | None:
        """Before the first step, or the first one after resuming."""

    def on_train_end(self, trainer: TrainerView, **kwargs: Any) -> Action | None:
        """After the last step, with the last checkpoint written."""

    def on_epoch_begin(self, trainer: TrainerView, epoch: int, **kwargs: Any) -> Action | None:
        """Before the first step of `epoch` (from 0)."""

    def on_epoch_end(self, trainer: TrainerView, epoch: int, metrics: dict[str, float], **kwargs: Any) -> Action | None:
        """After the last step of `epoch`, with the newest evaluation's metrics."""

    def on_step_begin(
        self, trainer: TrainerView, batches: Sequence[Batch], place: tuple[int, int], **kwargs: Any
    ) -> Action | None:
        """Before the first forward pass of an optimizer step, with all its batches, which may lose labels here.

        There are none where all rows of the turn are left out (`EncodedSplit.left_out`): no pass and no step follow.
        place: of its turn, by its epoch and its number in it, both from 0. The batches are on the CPU.
        """

    def on_batch_begin(self, trainer: TrainerView, batch: Batch, **kwargs: Any) -> Action | None:
        """Before a forward pass in training."""

    def on_batch_end(
        self, trainer: TrainerView, batch: Batch, loss: torch.Tensor, outputs: Mapping[str, TaskOutput], **kwargs: Any
    ) -> Action | None:
        """After a backward pass; `loss` is this batch's share of the step's loss, `outputs` what each task said.

        Both are detached, as they were before this step. Logits are those of training, with its dropout.
        """

    def on_gradients(self, trainer: TrainerView, **kwargs: Any) -> Action | None:
        """With the gradients of the step there, unscaled, before they are clipped: the place to change them."""

    def on_before_optimizer_step(self, trainer: TrainerView, grad_norm: torch.Tensor, **kwargs: Any) -> Answer:
        """With the gradients of the step there, unscaled and clipped. May ask for SKIP, UNDO, ROLLBACK and STOP.

        grad_norm: their norm before clipping, ``()`` on the model's device, so that only who reads it waits for it.
        """

    def on_step_end(self, trainer: TrainerView, logs: TrainRecord | None, **kwargs: Any) -> Answer:
        """After an optimizer step; `logs` is the record just written to metrics.jsonl, if this step wrote one.

        May ask for ROLLBACK and STOP.
        """

    def on_evaluate(self, trainer: TrainerView, metrics: dict[str, float], **kwargs: Any) -> Action | None:
        """After an evaluation on the validation rows, with the weights in the model that were judged.

        Where these are not the trained ones (`training.ema`, schedule-free optimizers), the trained ones come back
        after it, whatever is changed here.
        """

    def on_save(self, trainer: TrainerView, path: Path, **kwargs: Any) -> Action | None:
        """After a checkpoint was written to `path`."""

    def on_result(self, run: Path, evaluation: Mapping[str, Any], **kwargs: Any) -> None:
        """With the results of a finished run written to its folder `run`; `evaluation`: its evaluation.json."""

    def on_close(self, outcome: Outcome, **kwargs: Any) -> None:
        """Last of all, also after an error and where training never began: give back what is held."""

    def state_dict(self) -> Memory | None:
        """Return what a resumed run needs; None: nothing."""
        return None

    def load_state_dict(self, state: Memory) -> None:
        """Take back what `state_dict` returned, unless that was nothing. Tensors come on the CPU."""


CALLBACK_REGISTRY: Registry[BaseCallback] = Registry("callback", entry_point_group="jenga.callbacks")
