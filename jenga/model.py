"""The model: backbone, fusion and tasks, joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from jenga.backbones import BaseBackbone
from jenga.fusion import AttentionFusion
from jenga.tasks import BaseTask
from jenga.tasks.matching import Matching
from jenga.types import BackboneOutput, States, TaskOutput


class TaskDict(nn.Module):
    """Tasks by name. Unlike `nn.ModuleDict` it takes any name, such as 'type' or 'train'."""

    def __init__(self, tasks: Mapping[str, BaseTask]) -> None:
        super().__init__()
        self._modules.update(tasks)

    def __getitem__(self, name: str) -> BaseTask:
        task = self._modules[name]
        assert isinstance(task, BaseTask)
        return task

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._modules)


class MultiTaskModel(nn.Module):
    """One encoder pass for all tasks of a batch."""

    def __init__(self, backbone: BaseBackbone, fusion: AttentionFusion | None, tasks: Mapping[str, BaseTask]) -> None:
        super().__init__()
        self.backbone = backbone
        self.fusion = fusion
        self.tasks = TaskDict(tasks)
        self.matching: Matching | None = None
        for task in tasks.values():
            task.attach(backbone)

    def frozen_base(self) -> set[str]:
        """Return the names of the parameters that adapters leave as they are in the checkpoint they came from."""
        if not self.backbone.adapted:
            return set()
        return {f"backbone.{name}" for name, each in self.backbone.named_parameters() if not each.requires_grad}

    def forward(
        self,
        inputs: Mapping[str, torch.Tensor],
        tasks: Sequence[str],
        labels: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
        teacher: Mapping[str, Mapping[str, Any]] | None = None,
        states: States | None = None,
    ) -> dict[str, TaskOutput]:
        """Encode `inputs` once and return the output of each of `tasks`, with losses where `labels` are given.

        teacher, states: what a teacher says of the rows, as in `jenga.types.Batch`.
        """
        encoded = BackboneOutput.of(self.backbone(**inputs), inputs)
        views = self._views(encoded, tasks)
        outputs = {
            name: self.tasks[name].run(views[name], None if labels is None else labels[name], (teacher or {}).get(name))
            for name in tasks
        }
        if self.matching is not None and states is not None:
            # Of the batch, not of a task: its first task carries it.
            first, matched = outputs[tasks[0]], self.matching(encoded, states)
            first.teacher_loss = matched if first.teacher_loss is None else first.teacher_loss + matched
        return outputs

    def encode(self, inputs: Mapping[str, torch.Tensor], tasks: Sequence[str]) -> dict[str, BackboneOutput]:
        """Encode `inputs` once and return what each of `tasks` reads."""
        return self._views(BackboneOutput.of(self.backbone(**inputs), inputs), tasks)

    def _views(self, encoded: BackboneOutput, tasks: Sequence[str]) -> dict[str, BackboneOutput]:
        return self.fusion(encoded, tasks) if self.fusion is not None else dict.fromkeys(tasks, encoded)
