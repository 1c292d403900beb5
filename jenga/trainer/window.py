"""Losses of the steps since the last log record, summed on the device so that no step waits for one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import torch

from jenga.balance import Part
from jenga.processes import Processes
from jenga.types import TaskOutput

_SUMS, _SHARES = ("sums", "counts", "own", "taught"), ("batches", "lessons")
_PLAIN = ("steps", "batches", "lessons", "means", "heads", "weights")
"""What of a window is no tensor."""


class Figures(TypedDict):
    """Means over the steps of a record: the loss, that of each task and head, and the gradient norm."""

    loss: float
    task_loss: dict[str, float]
    head_loss: dict[str, dict[str, float]]
    teacher_loss: NotRequired[dict[str, float]]
    task_weight: NotRequired[dict[str, float]]
    task_cosine: NotRequired[dict[str, float]]
    task_grad_norm: NotRequired[dict[str, float]]
    grad_norm: float


class Window:
    """Adds up a batch's losses into the step's loss, and keeps what a log record tells.

    No tensor is changed in place, so that a snapshot is only references.
    """

    def __init__(self, device: torch.device, processes: Processes | None = None) -> None:
        self.device, self.processes = device, processes or Processes()
        self._clear()

    def _clear(self) -> None:
        self.norm = torch.zeros((), device=self.device)
        self.steps = 0
        self.means: dict[str, dict[str, tuple[float, int]]] = {}
        self._clear_sums()

    def _clear_sums(self) -> None:
        self.loss = torch.zeros((), device=self.device)
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, torch.Tensor] = {}
        self.own: dict[str, torch.Tensor] = {}
        self.taught: dict[str, torch.Tensor] = {}
        self.batches: dict[str, float] = {}
        self.lessons: dict[str, float] = {}
        self.heads: dict[str, list[str]] = {}
        self.weights: dict[str, list[float]] = {}

    def add(
        self, outputs: Mapping[str, TaskOutput], tasks: Any, counts: Mapping[str, torch.Tensor] | None, share: float
    ) -> dict[str, Part]:
        """Return a batch's part in its step's loss by task: over heads, weights x loss sum / number of labels.

        counts: labels of the whole step by task, ``(N,)``, where the step has several batches; share: this batch's part
        of the step's rows, which weighs the loss of a task that computes its own.
        """
        found: dict[str, Part] = {}
        for name, output in outputs.items():
            task = tasks[name]
            if output.loss_sum is not None and output.count is not None:
                count = output.count if counts is None else counts[name].to(output.count.device)
                loss = (output.loss_sum * (task.head_weight * output.label_share / count.clamp_min(1))).sum()
                self._sum(name, task, output.loss_sum.detach(), output.count)
                labelled = output.count.sum() / count.sum().clamp_min(1)
            elif output.loss is not None:
                loss = output.loss * share
                self.own[name] = self.own.get(name, torch.zeros((), device=self.device)) + loss.detach()
                self.batches[name] = self.batches.get(name, 0.0) + share
                labelled = torch.tensor(share, device=self.device)
            else:
                raise TypeError(f"task '{name}' returned no loss in training")
            if output.teacher_loss is not None:
                taught = output.teacher_loss * share
                self.taught[name] = self.taught.get(name, torch.zeros((), device=self.device)) + taught.detach()
                self.lessons[name] = self.lessons.get(name, 0.0) + share
                loss = loss + taught
            found[name] = Part(loss * task.config.weight, labelled)
            self.loss = self.loss + found[name].loss.detach()
        return found

    def add_norm(self, norm: torch.Tensor, *, scaled: bool) -> None:
        """Close a step with its gradient norm. Of scaled (fp16) gradients one that overflows is skipped, not fatal."""
        self.norm = self.norm + (norm.nan_to_num(nan=0.0, posinf=0.0) if scaled else norm)
        self.steps += 1

    def add_means(self, figure: str, values: Mapping[str, float]) -> None:
        """Keep what a step tells of tasks or pairs of them, whose means a record has under `figure`.

        What is not finite, as gradients of half precision that overflowed, is of no mean.
        """
        kept = dict(self.means.get(figure, {}))
        for name, value in values.items():
            if math.isfinite(value):
                total, times = kept.get(name, (0.0, 0))
                kept[name] = (total + value, times + 1)
        self.means = {**self.means, **({figure: kept} if kept else {})}

    def _sum(self, name: str, task: Any, sums: torch.Tensor, counts: torch.Tensor) -> None:
        if name in self.sums:
            self.sums[name], self.counts[name] = self.sums[name] + sums, self.counts[name] + counts
        else:
            self.sums[name], self.counts[name] = sums, counts
            self.heads[name] = list(task.heads.sizes)
            self.weights[name] = [head.weight for head in task.config.heads]

    def take(self) -> Figures:
        """Return the mean loss and gradient norm of the steps, the mean loss by task and head, and start anew.

        The losses of tasks and heads are those of the labels; what a teacher added stands beside them.

        A head or task that got no label in these steps is left out. All processes of a run have their part in it.
        """
        if self.processes.size > 1:
            self._join()
        head_loss: dict[str, dict[str, float]] = {}
        task_loss = {name: float(self.own[name]) / batches for name, batches in self.batches.items()}
        for name, heads in self.heads.items():  # in the order of the turns, also after a resume
            sums, counts = self.sums[name].tolist(), self.counts[name].tolist()
            rows = zip(heads, self.weights[name], sums, counts, strict=True)
            labelled = [(head, weight, total / count) for head, weight, total, count in rows if count]
            if labelled:
                head_loss[name] = {head: mean for head, _, mean in labelled}
                task_loss[name] = sum(weight * mean for _, weight, mean in labelled)
        steps = max(self.steps, 1)
        found: Figures = {
            "loss": float(self.loss) / steps,
            "task_loss": task_loss,
            "head_loss": head_loss,
            "teacher_loss": {name: float(self.taught[name]) / lessons for name, lessons in self.lessons.items()},
            "grad_norm": float(self.norm) / steps,
        }
        for figure, values in self.means.items():
            found[figure] = {name: total / times for name, (total, times) in values.items()}  # type: ignore[literal-required]
        if not found["teacher_loss"]:
            del found["teacher_loss"]
        self._clear()
        return found

    def settle(self) -> None:
        """Let the first process have all of what is summed, for a checkpoint."""
        if self.processes.size > 1:
            self._join()
            if not self.processes.first:
                self._clear_sums()

    def _join(self) -> None:
        """Add up what all processes have seen."""
        everyone = self.processes.gathered(self._told())
        self._clear_sums()
        for told in everyone:
            self.loss = self.loss + told["loss"].to(self.device)
            self.heads |= {name: each for name, each in told["heads"].items() if name not in self.heads}
            self.weights |= told["weights"]
            for kind in (*_SUMS, *_SHARES):
                known = getattr(self, kind)
                for name, value in told[kind].items():
                    here = value.to(self.device) if kind in _SUMS else value
                    known[name] = known[name] + here if name in known else here

    def _told(self) -> dict[str, Any]:
        found = {kind: {name: each.cpu() for name, each in getattr(self, kind).items()} for kind in _SUMS}
        return {
            "loss": self.loss.cpu(), "heads": self.heads, "weights": self.weights,
            **found, **{kind: getattr(self, kind) for kind in _SHARES},
        }  # fmt: skip

    def snapshot(self) -> dict[str, Any]:
        """Return what `go_back` takes."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}

    def go_back(self, snapshot: dict[str, Any]) -> None:
        """Forget what came after `snapshot`."""
        vars(self).update(snapshot)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return tensors and a JSON state for a checkpoint."""
        tensors = {"loss": self.loss, "norm": self.norm}
        for kind in _SUMS:
            tensors |= {f"{kind}.{name}": value for name, value in getattr(self, kind).items()}
        return tensors, {name: getattr(self, name) for name in _PLAIN}

    def restore(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._clear()
        if not self.processes.first:
            # The first has the sums of all; the rest is the same everywhere.
            state = {**state, **{kind: {} for kind in _SHARES}}
            tensors = {"norm": tensors["norm"]}
        for name, value in state.items():
            setattr(self, name, value)
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            if name:
                getattr(self, kind)[name] = value.to(self.device)
            else:
                setattr(self, kind, value.to(self.device))
