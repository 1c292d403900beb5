"""Causal language modelling: the next token, over a vocabulary whose logits are never held."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from jenga.errors import ConfigError
from jenga.kernels import linear_cross_entropy, linear_distillation
from jenga.labels.base import Answers
from jenga.modalities import BaseBackbone
from jenga.modalities.base import Generates
from jenga.rows.parse import Rows
from jenga.tasks.base import TASK_REGISTRY, BaseTask, Labels
from jenga.tasks.distillation import TokenTeacher
from jenga.tasks.language.config import CausalLMConfig
from jenga.types import IGNORE_INDEX, BackboneOutput, HeadSpace, TaskOutput

_LARGEST_LOSS = 80.0
"""Nats beyond which a perplexity says nothing but that it is huge."""


class NextToken(nn.Module):
    """Stands where other tasks have heads of their own: the output layer is the backbone's."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.sizes = {name: 0}


@TASK_REGISTRY.register("causal_lm", config=CausalLMConfig)
class CausalLMTask(BaseTask):
    """Predicts each learnt token from those before it; cross-entropy, or with a teacher a distillation.

    Labels are the tokens to predict, int64 ``(B, T)``, shifted already: the one behind each position, -100 where it is
    not learnt. Only these positions reach the output layer.
    """

    label_kind: ClassVar[str] = "text"
    generates: ClassVar[bool] = True
    reads: ClassVar[Literal["pooled", "tokens", "frames", "language"]] = "language"

    def make_heads(self, config: Any, hidden_size: int) -> NextToken:
        """Return a stand-in without weights."""
        return NextToken(config.heads[0].name)

    @classmethod
    def check_rows(cls, config: Any, rows: Rows) -> None:
        """Raise ConfigError where answers are to be compared with those of plain texts, which have none."""
        if config.generation.exact_match and not any(each is not None for each in rows.content.answers):
            raise ConfigError(
                f"tasks[{config.name}].generation.exact_match: the rows are plain texts, without an answer to compare "
                "with; give prompts and completions, or remove it"
            )

    def attach(self, backbone: BaseBackbone) -> None:
        """Take the output layer of `backbone`. Raises ConfigError where it has none."""
        # In a tuple, so that the backbone's weights do not become this task's too.
        self._backbone = (backbone,)
        self.heads.sizes[self.config.heads[0].name] = len(backbone.output_layer[0])

    def run(
        self, view: BackboneOutput, labels: Mapping[str, torch.Tensor] | None, teacher: Mapping[str, Any] | None
    ) -> TaskOutput:
        """Return the loss of the learnt tokens, beside what the teacher of the one head says of them."""
        return self.get_forward_output(view, labels, next(iter(teacher.values())) if teacher else None)

    def get_forward_output(
        self, encoder_outputs: BackboneOutput, labels: Labels | None = None, teacher: TokenTeacher | None = None
    ) -> TaskOutput:
        """Return the loss of the learnt tokens; without labels nothing, since answers are generated.

        teacher: of those tokens, in the order of the flattened labels.
        """
        if labels is None:
            return TaskOutput(None, {})
        targets = labels if isinstance(labels, torch.Tensor) else labels[self.config.heads[0].name]
        learnt = targets != IGNORE_INDEX
        hidden, wanted = self.dropout(encoder_outputs.last_hidden_state[learnt]), targets[learnt]
        weight, bias = self._backbone[0].output_layer
        # The mean, undone: its gradient is right as the forward pass stores it, a sum's would be scaled once more.
        count = torch.tensor([float(len(wanted))], device=hidden.device)
        if teacher is None:
            loss = linear_cross_entropy(hidden, weight, wanted, bias=bias)
        else:
            settings = teacher.settings
            loss = linear_distillation(
                hidden, weight, teacher.hidden, teacher.weight, wanted,
                alpha=settings.distillation_alpha, temperature=settings.temperature, kind=settings.divergence,
                teacher_topk=teacher.top_k,
            )  # fmt: skip
        return TaskOutput(loss, {}, loss * count, count)

    def metrics_of_loss(self, space: HeadSpace, loss: float) -> dict[str, float]:
        """Return ``perplexity``, of a mean cross-entropy in nats a token."""
        return {"perplexity": math.exp(min(loss, _LARGEST_LOSS))}

    def generated(
        self, rows: Rows, generator: Callable[[], Generates], *, batch_size: int
    ) -> tuple[list[dict[str, Any]], dict[str, float]] | None:
        """Return answers to the first rows, and ``exact_match`` where it is asked for.

        A row without an answer of its own has nothing to be equal to, and does not count.
        """
        settings = self.config.generation
        if not settings.rows:
            return None
        some = rows.take(range(min(settings.rows, len(rows))))
        answers = generator().judge(
            some, max_new_tokens=settings.max_new_tokens, pattern=settings.answer_pattern,
            compare=settings.exact_match, batch_size=batch_size,
        )  # fmt: skip
        judged = [row["match"] for row in answers if "match" in row]
        return answers, {"exact_match": sum(judged) / len(judged)} if judged else {}

    def respond(self, rows: Rows, generator: Generates, *, batch_size: int) -> Answers:
        """Return the likeliest answer to each row, a text going on where it ends."""
        head = self.config.heads[0].name
        longest = self.config.generation.max_new_tokens
        made = generator.answer(rows, max_new_tokens=longest, batch_size=batch_size)
        return [each if "error" in each else {head: each} for each in made]
