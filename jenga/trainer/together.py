"""What the processes of a run agree on, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from jenga.balance import LossBalance, reads_losses_after
from jenga.callbacks import Action
from jenga.callbacks.chain import Asked, Chain
from jenga.config.optimization import part_of
from jenga.config.training import ResolvedTraining, TrainingConfig
from jenga.errors import SetupError
from jenga.model import Named
from jenga.processes import Processes
from jenga.tasks import BaseTask
from jenga.trainer.evaluate import label_counts
from jenga.types import Batch

if TYPE_CHECKING:
    from jenga.trainer.loop import Trainer

_BACKWARDS = (Action.UNDO, Action.ROLLBACK)


def check_chain(chain: Chain, processes: Processes) -> None:
    """Refuse callbacks that see too little where others have rows of a step. Raises SetupError."""
    names = [type(each).__name__ for each in chain.callbacks if each.alone]
    if processes.size > 1 and names:
        raise SetupError(
            f"callbacks: {' and '.join(names)} must see all rows of a step, and {processes.size} processes share them; "
            "train in one, or remove it"
        )


def check_balance(balance: LossBalance, training: ResolvedTraining) -> None:
    """Refuse a balance of gradients that no process has whole. Raises SetupError."""
    if training.fsdp and balance.reads_norms:
        name, _ = part_of(training.loss_balance)
        raise SetupError(
            f"training.loss_balance: '{name}' needs the gradients of single tasks for a layer that training.fsdp "
            "leaves no process whole; remove one of the two, or choose uncertainty or dwa"
        )


def check_shards(training: TrainingConfig, processes: Processes) -> None:
    """Refuse parts of encoders where one process has all of them. Raises SetupError."""
    if training.fsdp and processes.size == 1:
        raise SetupError(
            "training.fsdp: one process has nobody to share its encoders with; start several (--processes N), or set "
            "training.fsdp=false, with which a run goes on too"
        )
    if training.fsdp:
        from torch.distributed.fsdp import FSDPModule

        if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
            raise SetupError(
                f"training.fsdp: torch {torch.__version__} adds up no gradients of weights that a process has no rows "
                "for; install torch 2.13 or later, or set training.fsdp=false, with which a run goes on too"
            )


def in_step(training: TrainingConfig, processes: Processes) -> bool:
    """Whether all processes run the model equally often, also where one has no row of a batch: they meet in it."""
    return processes.size > 1 and (training.fsdp or reads_losses_after(training))


def agree_to_end(trainer: Trainer) -> None:
    """Let a run end after its step, or be interrupted, wherever one of its processes says so."""
    interrupted = trainer.interrupted or trainer.asked_to_interrupt
    # A signal that arrives while they wait for one another is heard after the next step: the answer does not undo it.
    trainer.interrupted, trainer.state.stopped = trainer.processes.any(interrupted, trainer.state.stopped)


def agreed(processes: Processes, asked: Asked | None) -> Asked | None:
    """Return what the callbacks of all processes ask for, of which each may see other rows. Raises SetupError."""
    if processes.size == 1:
        return asked
    action, by = (None, "a callback of another process") if asked is None else (asked.action, asked.by)
    skips, stops, back = processes.any(action is Action.SKIP, action is Action.STOP, action in _BACKWARDS)
    if back:
        if any(each != asked for each in processes.gathered(asked)):
            raise SetupError(
                f"callbacks: {by} asks to go back in one process, and for something else in another; let it ask for "
                "the same in all, or train in one"
            )
        return asked
    if not skips and not stops:
        return None
    return Asked(Action.STOP if stops else Action.SKIP, by)


def step_counts(
    processes: Processes, batches: Sequence[Batch], tasks: Named[BaseTask]
) -> dict[str, torch.Tensor] | None:
    """Return the labels of a step by task, ``(N,)``, of all processes; None where they are those of its only batch."""
    if processes.size == 1:
        return label_counts(batches, tasks) if len(batches) > 1 else None
    total: dict[str, torch.Tensor] = {}
    for found in processes.gathered(label_counts([each for each in batches if not each.idle], tasks)):
        for task, counts in found.items():
            total[task] = total[task] + counts if task in total else counts
    return total
