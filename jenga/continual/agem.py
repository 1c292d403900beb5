"""Averaged gradient episodic memory (Chaudhry et al. 2019, equation 11)."""

from __future__ import annotations

from typing import Any

import torch

from jenga.callbacks import BaseCallback
from jenga.continual.gradients import loss_gradients
from jenga.continual.place import Place
from jenga.errors import SetupError
from jenga.rows.memory import Keep, by_reader, drawn, kept_rows
from jenga.trainer.judged import batch_norms


class Agem(BaseCallback[dict[str, Any]]):
    """Where a step's gradient g would raise the loss of the memory, whose gradient is r, takes that part out of it.

    ``g - (g.r / r.r) r`` where ``g.r < 0``, over all trained parameters together; else g as it is. r is of rows drawn
    anew for each step from those kept of earlier stages, without the changes that training makes of rows. What is
    drawn follows from the seed and the step, so that there is nothing to remember.
    """

    def __init__(self, place: Place, *, memory: int, keep: Keep, rows_per_step: int) -> None:
        self.place, self.rows_per_step = place, rows_per_step
        self.memory = kept_rows([stage.kept for stage in place.stages], memory, keep=keep, seed=place.seed)

    def on_train_begin(self, trainer: Any, **kwargs: Any) -> None:
        """Raise SetupError where processes would wait for rows of the memory that they have none of."""
        if trainer.processes.size > 1 and batch_norms(trainer.model):
            raise SetupError(
                "continual.agem: batch normalisation needs rows of the memory in every process, which share out few; "
                "train in one process, or without batch normalisation"
            )

    def on_gradients(self, trainer: Any, **kwargs: Any) -> None:
        """Project the gradient of the step."""
        memory = self.place.learnt(self.memory[self.place.of(trainer.state.epoch)])
        if not memory:
            return
        rows = drawn(memory, self.rows_per_step, seed=self.place.seed, step=[trainer.state.step])
        parameters = [p for p in trainer.model.parameters() if p.requires_grad]
        project(parameters, self._reference(trainer, parameters, rows))

    def _reference(self, trainer: Any, parameters: list[torch.nn.Parameter], rows: Any) -> list[torch.Tensor | None]:
        place, total = self.place, len(rows)
        found: list[torch.Tensor | None] = [None] * len(parameters)
        for (source, tasks), own in by_reader(rows).items():
            grads = loss_gradients(
                trainer.model, parameters, place.split(source), own, tasks, device=place.device,
                autocast=place.autocast, size=place.size(source), scale=place.scale(), processes=trainer.processes,
            )  # fmt: skip
            for at, grad in enumerate(grads):
                if grad is not None:
                    part = grad * (len(own) / total)
                    before = found[at]
                    found[at] = part if before is None else before + part
        return found


@torch.no_grad()
def project(parameters: list[torch.nn.Parameter], reference: list[torch.Tensor | None]) -> None:
    """Take out of the gradients that stand in `parameters` what goes against `reference`, by parameter.

    Sums are taken in float64: their sign decides. Where half precision overflowed, there is nothing to go by.
    """
    along = torch.zeros((), dtype=torch.float64, device=parameters[0].device)
    length = torch.zeros_like(along)
    for p, r in zip(parameters, reference, strict=True):
        if r is not None:
            length += r.double().square().sum()
            if p.grad is not None:
                along += (p.grad.double() * r.double()).sum()
    if not bool((along < 0) & along.isfinite() & length.isfinite()):
        return
    factor = -(along / length)
    for p, r in zip(parameters, reference, strict=True):
        if r is None:
            continue
        change = (factor * r.double()).to(p.dtype)
        p.grad = change if p.grad is None else p.grad + change
