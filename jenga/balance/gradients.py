"""The gradient of each task by itself, added up over the batches of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import torch

from jenga.processes import Processes


class TaskGradients:
    """The gradients of tasks for `parameters` of encoders, by name: a vector a task and encoder, and no graph."""

    def __init__(
        self, parameters: Mapping[str, Sequence[torch.nn.Parameter]], processes: Processes | None = None
    ) -> None:
        self.parameters = {name: list(each) for name, each in parameters.items()}
        self.processes = processes or Processes()
        self.forget()

    def add(
        self,
        losses: Mapping[str, torch.Tensor],
        others: Sequence[torch.nn.Parameter] = (),
        *,
        keep_graph: bool = False,
    ) -> None:
        """Add the gradients of `losses`, ``()`` by task: of the parameters here, of `others` to theirs.

        keep_graph: whether the losses are needed once more.
        """
        wanted = [*(p for parameters in self.parameters.values() for p in parameters), *others]
        for place, (task, loss) in enumerate(losses.items(), start=1):
            keep = keep_graph or place < len(losses)
            found = iter(torch.autograd.grad(loss, wanted, retain_graph=keep, allow_unused=True))
            for encoder, parameters in self.parameters.items():
                own = list(islice(found, len(parameters)))
                if any(each is not None for each in own):
                    pairs = zip(parameters, own, strict=True)
                    row = torch.cat([(torch.zeros_like(p) if each is None else each).flatten() for p, each in pairs])
                    before = self._rows[encoder].get(task)
                    self._rows[encoder][task] = row if before is None else before + row
            for parameter, each in zip(others, found, strict=True):
                if each is not None:
                    parameter.grad = each if parameter.grad is None else parameter.grad + each

    def take(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the vectors of the step by encoder and task, over the rows of all processes, and forget them."""
        rows = self._rows
        self.forget()
        return {name: self.processes.sum_rows(each, self.parameters[name]) for name, each in rows.items()}

    def take_norms(self) -> dict[str, torch.Tensor]:
        """Return the norm of each task's gradient over all encoders, ``()``, and forget them."""
        squares: dict[str, torch.Tensor] = {}
        for rows in self.take().values():
            for task, row in rows.items():
                square = row.float().square().sum()
                squares[task] = squares[task] + square if task in squares else square
        return {task: square.sqrt() for task, square in squares.items()}

    def forget(self) -> None:
        """Forget the gradients, as of a step that is not taken."""
        self._rows: dict[str, dict[str, torch.Tensor]] = {name: {} for name in self.parameters}
