"""A model and what trains it: the gradients of batches, an optimizer step, and all of that in a checkpoint."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator

from jenga.balance import Part
from jenga.callbacks.chain import Chain
from jenga.config.training import ResolvedTraining
from jenga.errors import DivergedError
from jenga.model import MultiTaskModel
from jenga.processes import Processes
from jenga.trainer import checkpoint
from jenga.trainer.balancing import Balancing
from jenga.trainer.judged import Judged, judged_tensors
from jenga.trainer.memory import pack, unpack
from jenga.trainer.optim import (
    Maker,
    all_groups,
    make_scheduler,
    warn_of_settings,
)
from jenga.trainer.rehearse import rehearse
from jenga.trainer.schedule import StagedSchedule
from jenga.trainer.shards import Shards
from jenga.trainer.window import Figures, Window
from jenga.types import Batch, TaskOutput


class Teacher(Protocol):
    """What the trainer asks of a teacher."""

    def teach(self, batch: Batch) -> None:
        """Put what it says of the rows of `batch` into ``batch.teacher``."""


class Learner:
    """Adds gradients up and takes steps, or leaves them out; `window` keeps the losses.

    trainings: by encoder. steps: those that the schedule is planned for; of several stages those of each, which has the
    schedule anew. `teacher`: adds to each batch what it says of its rows. `chain`: one of the callbacks may give the
    optimizer. Raises ConfigError as `rehearse` does.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        training: ResolvedTraining,
        trainings: Mapping[str, ResolvedTraining],
        accelerator: Accelerator,
        *,
        steps: Sequence[int],
        teacher: Teacher | None,
        chain: Chain,
        processes: Processes,
    ) -> None:
        self.accelerator, self.teacher, self.max_grad_norm = accelerator, teacher, training.max_grad_norm
        self.shards = Shards(model, processes, parted=training.fsdp)
        # A checkpoint's encoder comes in evaluation mode, without dropout.
        self.model: MultiTaskModel = model.train()
        self.processes, self.window = processes, Window(accelerator.device, processes)
        self.balancing = Balancing(
            self.model, training, accelerator, self.window, total_steps=sum(steps), processes=processes,
            measures=not self.shards,
        )  # fmt: skip
        self.balance = self.balancing.balance
        processes.spread([*self.balance.parameters(), *self.balance.buffers()])
        groups, names = all_groups(self.model, self.balance, trainings)
        make = Maker(training, chain)
        rehearse(groups, names, training, accelerator.device, make=make, total_steps=sum(steps))
        warn_of_settings(training, sum(steps))
        self.optimizer = make(*self.shards.own_groups(groups, names))
        self.prepared = accelerator.prepare_optimizer(self.optimizer)
        self.staged = StagedSchedule(self.optimizer, training, steps) if len(steps) > 1 else None
        self.scheduler = self.staged or make_scheduler(self.optimizer, training, steps[0])
        if processes.rank:
            # Dropout differs from process to process, as from row to row.
            torch.manual_seed(int(np.random.SeedSequence([training.seed, processes.rank]).generate_state(1)[0]))
        judged = {name: self.shards.own(each) for name, each in judged_tensors(self.model).items()}
        self.judged = Judged(judged, self.optimizer, decay=training.ema)
        self._parameters = [self.shards.own(p) for p in self.model.parameters() if p.requires_grad]
        self._lasting = [
            (module, name)
            for module in (*self.model.modules(), *self.balance.modules())
            for name, buffer in module.named_buffers(recurse=False)
            if buffer is not None and name not in module._non_persistent_buffers_set
        ]

    def add_gradients(
        self, batch: Batch, tasks: Sequence[str], counts: Mapping[str, torch.Tensor] | None, share: float
    ) -> tuple[torch.Tensor, dict[str, TaskOutput]]:
        """Add the gradients of a batch up; return its share of what the step minimises and what each task said.

        Arguments as of `Window.add`. Of an idle batch nothing is learnt, and none of its losses is kept.
        """
        if not self.model.training:
            self.model.train()
        window = Window(self.window.device) if batch.idle else self.window
        with self.processes.watched():
            self.balancing.note(batch, tasks, counts, share)
            outputs = self._said_of(batch, tasks)
            parts = window.add(outputs, self.model.tasks, counts, share)
            if batch.idle:
                parts = {name: Part(part.loss * 0, part.share * 0) for name, part in parts.items()}
            loss = self.balancing.add_gradients(parts, self.scheduler.last_epoch)
        return loss, {name: output.detached() for name, output in outputs.items()}

    def _said_of(self, batch: Batch, tasks: Sequence[str]) -> Mapping[str, TaskOutput]:
        with self.accelerator.autocast():
            if self.teacher is not None:
                self.teacher.teach(batch)
            outputs: Mapping[str, TaskOutput] = self.model(
                batch.inputs, tasks, batch.labels, batch.teacher, batch.states
            )
        return outputs

    def begin_stage(self, stage: int) -> None:
        """Begin the schedule of a stage, from 0, where each has it anew; of the one that is running nothing begins."""
        if self.staged is not None:
            self.staged.begin(stage)

    def settle_gradients(self) -> None:
        """Make the gradients of a step, unscaled, of what its batches have added up."""
        self.shards.take_gradients()
        whole = self.shards.whole_ones(self._parameters)
        self.balancing.settle(self.scheduler.last_epoch, self._parameters, to_sum=whole)

    def clip_gradients(self) -> torch.Tensor:
        """Scale the gradients down to training.max_grad_norm and return their norm before that, ``()``."""
        limit = math.inf if self.max_grad_norm is None else self.max_grad_norm
        return self.shards.clip(self._parameters, limit)

    def step(self, norm: torch.Tensor) -> None:
        """Take the step of the gradients, whose norm was `norm`."""
        self.window.add_norm(norm, scaled=self.accelerator.scaler is not None)
        with self.processes.same_draws(self.scheduler.last_epoch):
            self.prepared.step()
        self.scheduler.step()
        self.prepared.zero_grad()
        self.balancing.end_step(self._said_of)
        if self.judged.average is not None:
            self.judged.average.add()

    def skip(self) -> None:
        """Move the schedule on as a step would, and nothing else."""
        with warnings.catch_warnings():
            # torch takes a very first step that is left out for a wrong order of calls.
            warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler\.step\(\)` before")
            self.scheduler.step()

    def drop_gradients(self) -> None:
        """Forget the gradients, and the losses that they are of."""
        self.prepared.zero_grad()
        self.shards.forget_gradients()
        self.balancing.forget()
        if self.accelerator.scaler is not None:
            # It has unscaled them and waits for their step.
            self.accelerator.scaler.update()

    def figures(self) -> Figures:
        """Return what a record tells of the steps since the one before, with the weights of tasks where they move."""
        found = self.window.take()
        return {**found, "task_weight": self.balance.weights()} if self.balance.moves else found

    def check_finite(self, step: int) -> None:
        """Raise DivergedError where a loss or a gradient norm of the window is not finite."""
        values = {"loss": float(self.window.loss), "gradient norm": float(self.window.norm)}
        broken = self.processes.any(*(not math.isfinite(value) for value in values.values()))
        for (what, value), wrong in zip(values.items(), broken, strict=True):
            if wrong:
                raise DivergedError(
                    f"step {step}: the {what} is {value}; lower training.learning_rate, raise "
                    "training.warmup_ratio, or set training.precision to fp32. The last checkpoint is unharmed"
                )

    def lasting_buffers(self) -> list[torch.Tensor]:
        """Return the buffers that stand in checkpoints, such as the statistics of batch normalisation."""
        return [getattr(module, name) for module, name in self._lasting]

    def state(self) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
        """Return groups of tensors and a JSON state for a checkpoint, the global random states among them.

        The trained weights have to stand in the model, as within `Judged.hidden`.
        """
        random_tensors, random_state = checkpoint.random_states(self.processes)
        self.window.settle()
        window_tensors, window_state = self.window.state()
        tensors: dict[str, dict[str, torch.Tensor]] = {
            "model": self.shards.whole(checkpoint.model_tensors(self.model)),
            "optimizer": {},
            "scheduler": {},
            "random": random_tensors,
            "window": window_tensors,
        }
        tensors["balance"] = self.balance.state_dict()
        average = self.judged.average
        if average is not None:
            tensors["average"] = self.shards.whole(average.values)
        scaler = self.accelerator.scaler
        state = {
            "bases": self.model.bases,
            "optimizer": pack(self.shards.whole_state(self.optimizer), "optimizer", tensors["optimizer"]),
            "scheduler": pack(self.scheduler.state_dict(), "scheduler", tensors["scheduler"]),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": random_state,
            "window": window_state,
            "averages": 0 if average is None else average.updates,
        }
        return tensors, state

    def restore(self, tensors: Mapping[str, dict[str, torch.Tensor]], state: Mapping[str, Any], folder: Path) -> None:
        """Restore what `state` returned, as it stands in `folder`. Raises SetupError where it is of another model."""
        checkpoint.load_model(self.model, self.shards.loadable(tensors["model"]), folder, bases=state["bases"])
        kept = checkpoint.mapping(unpack(state["optimizer"], tensors["optimizer"]))
        checkpoint.load_optimizer(self.optimizer, self.shards.part_state(self.optimizer, kept))
        self.scheduler.load_state_dict(checkpoint.mapping(unpack(state["scheduler"], tensors["scheduler"])))
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.judged.average is not None:
            self.judged.average.restore(self.shards.parts(tensors["average"]), state["averages"])
        self.balance.load_state_dict(tensors.get("balance", {}))
        self.balancing.forget()
        self.window.restore(tensors["window"], state["window"])
        checkpoint.set_random_states(self.processes, tensors["random"], state["random"])
