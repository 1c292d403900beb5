"""A teacher that runs beside its student at each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from jenga.config.distillation import TeacherStudentConfig
from jenga.tasks.distillation import TokenTeacher
from jenga.types import IGNORE_INDEX, Batch, States

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RunningTeacher:
    """A frozen model of transformers in evaluation mode, which no optimizer and no checkpoint ever sees.

    `keys`: (task, head) of the language tasks that its output layer teaches. Its states are handed on where they are to
    be matched. `sources`: the names of those whose rows it reads; None: all.
    """

    def __init__(self, model: PreTrainedModel, settings: TeacherStudentConfig, keys: list[tuple[str, str]]) -> None:
        self.model = model.eval().requires_grad_(False)
        self.settings = settings
        self.keys = keys
        self.sources: frozenset[str] | None = None
        if settings.attentions is not None:
            # Faster kinds of attention never hold the probabilities.
            model.set_attn_implementation("eager")

    @property
    def encoder(self) -> PreTrainedModel:
        """The model without an output layer."""
        return self.model.base_model

    @property
    def weight(self) -> torch.Tensor:
        """Weight ``(Vt, Ht)`` of the output layer."""
        weight: torch.Tensor = self.model.get_output_embeddings().weight
        return weight

    def to(self, device: torch.device) -> RunningTeacher:
        """Move the model to `device`."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def teach(self, batch: Batch) -> None:
        """Put what the teacher makes of the learnt tokens of `batch` into ``batch.teacher``, and its states beside."""
        keys = [(task, head) for task, head in self.keys if task in batch.labels]
        matched = self.settings.hidden_states is not None or self.settings.attentions is not None
        if (not keys and not matched) or (self.sources is not None and batch.source not in self.sources):
            return
        output = self.run(batch.inputs)
        for task, head in keys:
            hidden = output.last_hidden_state[batch.labels[task][head] != IGNORE_INDEX]
            batch.teacher[task] = {head: TokenTeacher(self.settings, hidden, self.weight)}
        if matched:
            batch.states = States(output.get("hidden_states"), output.get("attentions"))

    def run(self, inputs: Mapping[str, torch.Tensor]) -> Any:
        """Return the output of the model without its output layer."""
        read: dict[str, Any] = dict(inputs)
        if self.model.get_output_embeddings() is not None:
            # Padding stands behind the tokens, which do not see it; packed texts are told apart by their positions.
            read = {name: each for name, each in inputs.items() if name != "attention_mask"} | {"use_cache": False}
        if getattr(self.model.config, "type_vocab_size", 0) < 2:
            read.pop("token_type_ids", None)
        return self.encoder(
            **read,
            output_hidden_states=self.settings.hidden_states is not None,
            output_attentions=self.settings.attentions is not None,
        )
