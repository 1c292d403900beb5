"""A language teacher that runs beside its student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from jenga.backbones.language import check_packing
from jenga.config.distillation import TeacherStudentConfig
from jenga.tasks.distillation import TokenTeacher
from jenga.types import IGNORE_INDEX, Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LanguageTeacher:
    """A frozen causal language model in evaluation mode, which no optimizer and no checkpoint ever sees.

    `keys`: (task, head) of the language tasks that it teaches.
    """

    def __init__(self, model: PreTrainedModel, settings: TeacherStudentConfig, keys: list[tuple[str, str]]) -> None:
        self.model = model.eval().requires_grad_(False)
        self.settings = settings
        self.keys = keys

    def to(self, device: torch.device) -> LanguageTeacher:
        """Move the model to `device`."""
        self.model.to(device)
        return self

    @property
    def weight(self) -> torch.Tensor:
        """Weight ``(Vt, Ht)`` of the output layer."""
        weight: torch.Tensor = self.model.get_output_embeddings().weight
        return weight

    def check_packing(self) -> None:
        """Raise ConfigError where packed texts would see one another in the teacher."""
        check_packing(self.model.base_model)

    @torch.no_grad()
    def teach(self, batch: Batch) -> None:
        """Put what the teacher makes of the learnt tokens of `batch` into ``batch.teacher``."""
        for task, head in self.keys:
            if task in batch.labels:
                hidden = self.hidden(batch.inputs)[batch.labels[task][head] != IGNORE_INDEX]
                batch.teacher[task] = {head: TokenTeacher(self.settings, hidden, self.weight.to(hidden.dtype))}

    def hidden(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the last hidden states ``(B, T, Ht)``. Padding stands behind the tokens, which do not see it."""
        read = {name: each for name, each in inputs.items() if name != "attention_mask"}
        states: torch.Tensor = self.model.base_model(**read, use_cache=False).last_hidden_state
        return states
