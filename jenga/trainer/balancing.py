"""How the tasks of a step come together: their losses weighed, their gradients reconciled, both of them told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from accelerate import Accelerator

from jenga.balance import Part, make_balance
from jenga.balance.conflicts import Conflicts
from jenga.balance.dominance import Dominance
from jenga.balance.gradients import TaskGradients
from jenga.config.training import ResolvedTraining
from jenga.model import MultiTaskModel
from jenga.processes import Processes
from jenga.trainer.judged import statistics_kept
from jenga.trainer.optim import last_shared_layer, shared_parameters
from jenga.trainer.window import Window
from jenga.types import Batch, TaskOutput

MEASURES = 20
"""How often in a run the gradients of tasks that share an encoder are measured, where nothing else asks for it."""


class _Seen(NamedTuple):
    """A batch of the step, and what its forward pass began with."""

    batch: Batch
    tasks: Sequence[str]
    counts: Mapping[str, torch.Tensor] | None
    share: float
    random: Sequence[torch.Tensor]


class Balancing:
    """The gradients of the tasks of a step, and what is kept to make them. `window`: told of weights and gradients."""

    def __init__(
        self,
        model: MultiTaskModel,
        training: ResolvedTraining,
        accelerator: Accelerator,
        window: Window,
        *,
        total_steps: int,
        processes: Processes,
        measures: bool = True,
    ) -> None:
        """measures: whether gradients of single tasks can be had. Raises as `make_balance` and `Conflicts` do."""
        self.model, self.accelerator, self.window, self.processes = model, accelerator, window, processes
        self.balance = make_balance(training.loss_balance, list(model.tasks)).to(accelerator.device)
        self.conflicts: Conflicts | None = None
        if training.gradient_conflict is not None:
            shared = shared_parameters(model)
            known = {id(p) for parameters in shared.values() for p in parameters}
            self.conflicts = Conflicts(training.gradient_conflict, shared, processes)
            trained = [*model.parameters(), *self.balance.parameters()]
            self._others = [p for p in trained if p.requires_grad and id(p) not in known]
        layers = last_shared_layer(model, whole=self.balance.reads_norms) if measures else {}
        self.measured = TaskGradients(layers, processes) if layers else None
        self.dominance = Dominance()
        self._every = max(1, total_steps // MEASURES)
        self._losses: dict[str, torch.Tensor] = {}
        self._shares: dict[str, torch.Tensor] = {}
        self._seen: list[_Seen] = []

    def note(self, batch: Batch, tasks: Sequence[str], counts: Mapping[str, torch.Tensor] | None, share: float) -> None:
        """Remember a batch of the step, whose forward pass comes now, where it is to be looked at again."""
        if self.balance.reads_losses_after:
            self._seen.append(_Seen(batch, tasks, counts, share, self._random()))

    def add_gradients(self, parts: Mapping[str, Part], step: int) -> torch.Tensor:
        """Add the gradients of a batch of step `step` (from 0) up; return its part of what is minimised, ``()``."""
        for name, part in parts.items():
            self._losses[name] = self._losses.get(name, 0.0) + part.loss.detach()
            self._shares[name] = self._shares.get(name, 0.0) + part.share.detach()
        if self._measures(step):
            assert self.measured is not None
            losses = {name: self._scaled(part.loss) for name, part in parts.items() if part.loss.requires_grad}
            self.measured.add(losses, keep_graph=True)
        weighed = self.balance.weighed(self._of_all_rows(parts))
        loss = reduce(torch.add, weighed.values())
        if self.conflicts is None:
            self.accelerator.backward(loss)
        else:
            self.conflicts.add({name: self._scaled(each) for name, each in weighed.items()}, self._others)
        return loss.detach()

    def _of_all_rows(self, parts: Mapping[str, Part]) -> Mapping[str, Part]:
        """Return `parts` with the losses of a batch over all processes, where the balance needs them.

        Their gradients stay those of the rows here, so that they add up.
        """
        if self.processes.size == 1 or not self.balance.reads_losses_after:
            return parts
        whole = self.processes.total(torch.stack([part.loss.detach() for part in parts.values()]))
        return {
            name: part._replace(loss=part.loss + (loss - part.loss).detach())
            for (name, part), loss in zip(parts.items(), whole.unbind(), strict=True)
        }

    def settle(
        self, step: int, parameters: Sequence[torch.nn.Parameter], *, to_sum: Sequence[torch.nn.Parameter]
    ) -> None:
        """Make one gradient of those of the tasks of step `step`, over all processes, unscaled, in `parameters`.

        to_sum: those of which each process has a gradient of its own.
        """
        self.processes.sum_gradients([*to_sum, *self.balance.parameters()])
        if self.balance.takes_losses or self._measures(step):
            self._losses, self._shares = self.processes.sums(self._losses), self.processes.sums(self._shares)
        if self.conflicts is not None:
            self.window.add_means("task_cosine", self.conflicts.settle())
        losses = self._labelled(self._losses)
        norms = self._norms(step)
        self.accelerator.unscale_gradients()
        factor = self.balance.settle(losses, norms) if losses else None
        if step % self._every == 0:
            self._tell(norms, step)
        if factor is not None:
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], factor)

    def end_step(self, run: Callable[[Batch, Sequence[str]], Mapping[str, TaskOutput]]) -> None:
        """Let the balance take in a step that was taken; run: returns what the model says of a batch."""
        losses = self._labelled(self._losses)
        if losses and self.balance.reads_losses_after:
            self.balance.look_again(losses, self._labelled(self._losses_after(run)))
        if losses:
            self.balance.end_step(losses)
        self.forget()

    def forget(self) -> None:
        """Forget the losses and the batches of the step."""
        self._losses, self._shares, self._seen = {}, {}, []

    def _labelled(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the `values` of those tasks that got a label in the step: 0 is no loss of the others.

        All of them where no weight moves, for which no step has to wait.
        """
        return self._labelled_of(values) if self.balance.moves else dict(values)

    def _labelled_of(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: each for name, each in values.items() if float(self._shares[name]) > 0}

    def _measures(self, step: int) -> bool:
        return self.measured is not None and (self.balance.reads_norms or step % self._every == 0)

    def _norms(self, step: int) -> dict[str, torch.Tensor]:
        if self.measured is None or not self._measures(step):
            return {}
        scaler = self.accelerator.scaler
        scale = 1.0 if scaler is None else scaler.get_scale()
        norms = {name: norm / scale for name, norm in self.measured.take_norms().items()}
        finite = {name: norm for name, norm in norms.items() if bool(norm.isfinite())}
        return self._labelled_of(finite)

    def _tell(self, norms: Mapping[str, torch.Tensor], step: int) -> None:
        """Tell of the gradients as they were weighed in the step."""
        weights = self.balance.weights()
        told = {name: float(norm) * weights[name] for name, norm in norms.items()}
        self.window.add_means("task_grad_norm", told)
        self.dominance.look(told, step + 1)

    def _scaled(self, loss: torch.Tensor) -> torch.Tensor:
        scaler = self.accelerator.scaler
        return loss if scaler is None else scaler.scale(loss)

    @torch.no_grad()
    def _losses_after(self, run: Callable[[Batch, Sequence[str]], Mapping[str, TaskOutput]]) -> dict[str, torch.Tensor]:
        """Return the losses of the step's batches by task as the model is now, with the dropout that they had."""
        found: dict[str, torch.Tensor] = {}
        device = self.accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for seen in self._seen:
                torch.set_rng_state(seen.random[0])
                if device.type == "cuda":
                    torch.cuda.set_rng_state(seen.random[1], device)
                with statistics_kept(self.model):
                    outputs = run(seen.batch, seen.tasks)
                parts = Window(device).add(outputs, self.model.tasks, seen.counts, seen.share)
                for name, part in parts.items():
                    loss = part.loss * 0 if seen.batch.idle else part.loss
                    found[name] = found[name] + loss if name in found else loss
        return self.processes.sums(found)

    def _random(self) -> list[torch.Tensor]:
        device = self.accelerator.device
        here = [torch.get_rng_state()]
        return [*here, torch.cuda.get_rng_state(device)] if device.type == "cuda" else here
