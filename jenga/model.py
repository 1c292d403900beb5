"""The model: encoders, fusion and tasks, joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import torch
from torch import nn

from jenga.fusion import AttentionFusion, JointBackbone
from jenga.modalities import BaseBackbone
from jenga.tasks import BaseTask
from jenga.tasks.matching import Matching
from jenga.types import BackboneOutput, States, TaskOutput

Part = TypeVar("Part", bound=nn.Module)


class Named(nn.Module, Generic[Part]):
    """Modules by name. Unlike `nn.ModuleDict` it takes any name, such as 'type' or 'train'."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        super().__init__()
        self._modules.update(parts)

    def __getitem__(self, name: str) -> Part:
        return cast(Part, self._modules[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def values(self) -> list[Part]:
        """Return the modules in their order."""
        return [self[name] for name in self]


class MultiTaskModel(nn.Module):
    """One encoder pass for all tasks of a batch.

    `encoders`: the backbones by name. `fusion`: by the encoder's name, its tasks' own views of what it says; none of an
    encoder whose tasks all see the same. `joints`: encoders that consist of several of them, by name. `reads`: by task,
    the name of the encoder that it reads. `matching`: compares
    what is inside the encoder `matched` with a teacher's. `explains`: whether gradients tell what drove an answer.
    """

    explains = True

    def __init__(
        self,
        encoders: Mapping[str, BaseBackbone],
        fusion: Mapping[str, AttentionFusion],
        tasks: Mapping[str, BaseTask],
        reads: Mapping[str, str] | None = None,
        joints: Mapping[str, JointBackbone] | None = None,
    ) -> None:
        """reads: default: all tasks read the one encoder."""
        super().__init__()
        self.encoders: Named[BaseBackbone] = Named(encoders)
        self.joints: Named[JointBackbone] = Named(joints or {})
        self.fusion: Named[AttentionFusion] = Named(fusion)
        self.tasks: Named[BaseTask] = Named(tasks)
        self.reads = dict(reads or dict.fromkeys(tasks, next(iter(encoders))))
        self.matching: Matching | None = None
        self.matched: str | None = None
        for name, task in tasks.items():
            task.attach(self.encoder_of(name))

    def encoder_of(self, task: str) -> BaseBackbone:
        """Return the encoder that `task` reads."""
        name = self.reads[task]
        return self.joints[name] if name in self.joints else self.encoders[name]

    @property
    def adapted(self) -> bool:
        """Whether some encoder is frozen but for the adapters in it."""
        return any(each.adapted for each in self.encoders.values())

    @property
    def bases(self) -> dict[str, Mapping[str, Any] | None]:
        """Fingerprints of the frozen encoders beneath adapters, by name; None of an encoder without adapters."""
        return {name: self.encoders[name].base for name in self.encoders}

    @property
    def cost_follows_tokens(self) -> bool:
        """Whether two passes over the halves of a batch cost about what one does, in every encoder."""
        return all(each.cost_follows_tokens for each in self.encoders.values())

    @property
    def skips_padding(self) -> bool:
        """Whether padding costs next to nothing on a CPU, in every encoder."""
        return all(each.skips_padding for each in self.encoders.values())

    def frozen_base(self) -> set[str]:
        """Return the names of the parameters that adapters leave as they are in the checkpoint they came from."""
        return {
            f"encoders.{name}.{each}"
            for name in self.encoders
            if self.encoders[name].adapted
            for each, parameter in self.encoders[name].named_parameters()
            if not parameter.requires_grad
        }

    def forward(
        self,
        inputs: Mapping[str, torch.Tensor],
        tasks: Sequence[str],
        labels: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
        teacher: Mapping[str, Mapping[str, Any]] | None = None,
        states: States | None = None,
    ) -> dict[str, TaskOutput]:
        """Encode `inputs` once and return the output of each of `tasks`, with losses where `labels` are given.

        All of `tasks` read one encoder. teacher, states: what a teacher says of the rows, as in `jenga.types.Batch`.
        """
        encoded = self._encoded(inputs, tasks)
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
        """Encode `inputs` once and return what each of `tasks`, which read one encoder, reads."""
        return self._views(self._encoded(inputs, tasks), tasks)

    def _encoded(self, inputs: Mapping[str, torch.Tensor], tasks: Sequence[str]) -> BackboneOutput:
        return BackboneOutput.of(self.encoder_of(tasks[0])(**inputs), inputs)

    def _views(self, encoded: BackboneOutput, tasks: Sequence[str]) -> dict[str, BackboneOutput]:
        name = self.reads[tasks[0]]
        return self.fusion[name](encoded, tasks) if name in self.fusion else dict.fromkeys(tasks, encoded)
