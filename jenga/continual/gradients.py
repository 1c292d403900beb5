"""The gradient of a loss on rows of one's own choosing, beside the step that is being taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch

from jenga.model import MultiTaskModel
from jenga.processes import Processes
from jenga.rows.batches import EncodedSplit
from jenga.trainer.judged import statistics_kept
from jenga.trainer.together import step_counts
from jenga.trainer.window import Window


def loss_gradients(
    model: MultiTaskModel,
    parameters: Sequence[torch.Tensor],
    split: EncodedSplit,
    rows: Sequence[int],
    tasks: Sequence[str],
    *,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
    size: int,
    scale: float = 1.0,
    processes: Processes | None = None,
) -> list[torch.Tensor | None]:
    """Return the gradient of the loss of `tasks` on `rows` of `split`, by parameter; None where it does not reach one.

    The loss is that of a training step on these rows, in passes of `size` rows; processes: which share them, and whose
    gradients are added up. The gradients that stand in the
    parameters, the losses that a record tells, and the statistics of batch normalisation stay as they are. scale: what
    the loss is multiplied by on its way back, so that half precision holds its gradients.
    """
    processes = processes or Processes()
    own = list(processes.share(rows))
    batches = [split.batch(own[at : at + size]).to(device) for at in range(0, len(own), size)]
    counts = step_counts(processes, batches, model.tasks)
    found: list[torch.Tensor | None] = [None] * len(parameters)
    for batch in batches:
        with statistics_kept(model):
            with autocast():
                outputs = model(batch.inputs, tasks, batch.labels)
            parts = Window(device).add(outputs, model.tasks, counts, len(batch.rows) / len(rows))
            loss = torch.stack([part.loss for part in parts.values()]).sum() * scale
            if loss.requires_grad:
                grads = torch.autograd.grad(loss, parameters, allow_unused=True)
                found = [_sum(one, other) for one, other in zip(found, grads, strict=True)]
    return [None if each is None else each / scale for each in processes.summed(found, parameters)]


def _sum(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
