"""Task-specific attention fusion: each task looks at the shared hidden states in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from jenga.dropout import Dropout
from jenga.types import BackboneOutput


class AttentionFusion(nn.Module):
    """Additive attention over the tokens with one learned query a task (Bahdanau et al. 2015, section 3.1).

    For task t: ``score_i = v . tanh(W h_i + q_t)``, ``c_t = sum_i softmax(score)_i h_i`` over unmasked tokens, and both
    the pooled vector and every token get ``+ U_t dropout(c_t)``. ``U_t`` starts at zero, so that training starts from
    the backbone's own output.
    """

    def __init__(self, hidden_size: int, tasks: Sequence[str], *, dropout: float) -> None:
        super().__init__()
        self.index = {task: i for i, task in enumerate(tasks)}
        self.project = nn.Linear(hidden_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1, bias=False)
        self.query = nn.Parameter(torch.randn(len(tasks), hidden_size) * 0.02)
        self.update_weight = nn.Parameter(torch.zeros(len(tasks), hidden_size, hidden_size))
        self.update_bias = nn.Parameter(torch.zeros(len(tasks), hidden_size))
        self.dropout = Dropout(dropout)

    def forward(self, encoded: BackboneOutput, tasks: Sequence[str]) -> dict[str, BackboneOutput]:
        """Return the view of ``encoded`` of each of `tasks`; masked tokens take no part, so padding changes nothing."""
        hidden, masked = encoded.last_hidden_state, encoded.attention_mask == 0
        projected = self.project(hidden)
        views = {}
        for task in tasks:
            at = self.index[task]
            score = self.score(torch.tanh(projected + self.query[at])).squeeze(-1)
            weight = torch.softmax(score.float().masked_fill(masked, torch.finfo(torch.float32).min), dim=-1).to(
                hidden.dtype
            )
            context = torch.bmm(weight.unsqueeze(1), hidden).squeeze(1)
            update = torch.nn.functional.linear(self.dropout(context), self.update_weight[at], self.update_bias[at])
            views[task] = replace(
                encoded,
                last_hidden_state=hidden + update.unsqueeze(1),
                pooler_output=encoded.pooler_output + update,
            )
        return views
