"""What a teacher says of a batch, and the losses of a student that reads it (Hinton et al. 2015)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from jenga.config.distillation import TeacherStudentConfig
from jenga.kernels import TeacherTopk
from jenga.labels import kind_named
from jenga.types import TaskOutput

if TYPE_CHECKING:
    from jenga.tasks.base import BaseTask


@dataclass(frozen=True)
class TokenTeacher:
    """A language teacher's view of the M learnt tokens of a batch, in the order of its flattened labels.

    Either `hidden` ``(M, Ht)``, its last hidden states, with `weight` ``(Vt, Ht)``, its output layer; or `top_k`, its
    largest logits. None of it has a gradient.
    """

    settings: TeacherStudentConfig
    hidden: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    top_k: TeacherTopk | None = None

    def to(self, device: torch.device) -> TokenTeacher:
        """Return the same on `device`, where a running teacher's tensors are already."""
        if self.top_k is None:
            return self
        return replace(self, top_k=TeacherTopk(self.top_k.logits.to(device), self.top_k.indices.to(device)))


@dataclass(frozen=True)
class HeadTeacher:
    """A teacher's logits of one head for the rows of a batch, ``(B, K)``; numbers in the student's scale.

    Those of tags are ``(B, T, K)``, at the first token of each word, and NaN elsewhere.
    """

    settings: TeacherStudentConfig
    kind: str
    logits: torch.Tensor

    def to(self, device: torch.device) -> HeadTeacher:
        """Return the same on `device`."""
        return replace(self, logits=self.logits.to(device))


def taught(task: BaseTask, output: TaskOutput, teacher: Mapping[str, HeadTeacher]) -> TaskOutput:
    """Return `output` with what its teacher adds; teacher: by head, absent for heads that learn from labels alone.

    alpha T^2 D is added for a taught head, a mean over rows (of a row's words) and items, whether or not they have a
    label, and its labels' loss counts 1 - alpha. For numbers D is the squared difference of the standardised values,
    and there is no temperature.
    """
    losses = []
    shares = [1.0] * len(task.heads.sizes)
    for place, (head, weight) in enumerate(zip(task.heads.sizes, task.head_weight, strict=True)):
        if head not in teacher:
            continue
        said = teacher[head]
        alpha = said.settings.distillation_alpha
        losses.append(weight * alpha * head_loss(output.logits[head], said))
        shares[place] = 1.0 - alpha
    return replace(
        output, teacher_loss=torch.stack(losses).sum(), label_share=torch.tensor(shares).to(losses[0].device)
    )


def head_loss(logits: torch.Tensor, teacher: HeadTeacher) -> torch.Tensor:
    """Return T^2 D ``()`` of a head's logits, float32: a mean over rows, in each over its words or items."""
    settings = teacher.settings
    scale = settings.temperature**2
    return kind_named(teacher.kind).distilled(
        logits.float(), teacher.logits.float(), lambda ours, theirs: scale * divergence(ours, theirs, settings)
    )


def divergence(student: torch.Tensor, teacher: torch.Tensor, settings: TeacherStudentConfig) -> torch.Tensor:
    """Return D of the distributions of logits ``(..., K)`` at the temperature, ``(...)``, in nats."""
    ours = F.log_softmax(student / settings.temperature, -1)
    theirs = F.log_softmax(teacher / settings.temperature, -1)
    if settings.divergence == "forward_kl":
        return _kl(theirs, ours)
    if settings.divergence == "reverse_kl":
        return _kl(ours, theirs)
    middle = torch.logaddexp(ours, theirs) - math.log(2)
    return (_kl(ours, middle) + _kl(theirs, middle)) / 2


def _kl(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first.exp() * (first - second)).sum(-1)
