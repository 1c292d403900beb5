"""What the processes of a run agree on, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jenga.callbacks import Action
from jenga.callbacks.chain import Asked, Chain
from jenga.errors import SetupError
from jenga.model import Named
from jenga.processes import Processes
from jenga.tasks import BaseTask
from jenga.trainer.evaluate import label_counts
from jenga.types import Batch

_BACKWARDS = (Action.UNDO, Action.ROLLBACK)


def check_chain(chain: Chain, processes: Processes) -> None:
    """Refuse callbacks that see too little where others have rows of a step. Raises SetupError."""
    names = [type(each).__name__ for each in chain.callbacks if each.alone]
    if processes.size > 1 and names:
        raise SetupError(
            f"callbacks: {' and '.join(names)} must see all rows of a step, and {processes.size} processes share them; "
            "train in one, or remove it"
        )


def agreed(processes: Processes, asked: Asked | None) -> Asked | None:
    """Return what the callbacks of all processes ask for, of which each may see other rows. Raises SetupError."""
    if processes.size == 1:
        return asked
    if asked is not None and asked.action in _BACKWARDS:
        raise SetupError(
            f"callbacks: {asked.by} asks for {asked.action.name}, which is not built for several processes; train in "
            "one, or remove it"
        )
    action = None if asked is None else asked.action
    skips, stops = processes.any(action is Action.SKIP, action is Action.STOP)
    if not skips and not stops:
        return None
    return Asked(Action.STOP if stops else Action.SKIP, "another process" if asked is None else asked.by)


def step_counts(
    processes: Processes, batches: Sequence[Batch], tasks: Named[BaseTask]
) -> dict[str, torch.Tensor] | None:
    """Return the labels of a step by task, ``(N,)``, of all processes; None where they are those of its only batch."""
    if processes.size == 1:
        return label_counts(batches, tasks) if len(batches) > 1 else None
    total: dict[str, torch.Tensor] = {}
    for found in processes.gathered(label_counts(batches, tasks)):
        for task, counts in found.items():
            total[task] = total[task] + counts if task in total else counts
    return total
