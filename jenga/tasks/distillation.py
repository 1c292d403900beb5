"""What a teacher says of a batch, as the losses of a student read it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from jenga.config.distillation import TeacherStudentConfig
from jenga.kernels import TeacherTopk


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
        """Return the same on `device`."""
        if self.top_k is None:
            return self
        kept = TeacherTopk(self.top_k.logits.to(device), self.top_k.indices.to(device))
        return TokenTeacher(self.settings, top_k=kept)
