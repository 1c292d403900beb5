"""Fusion: each task looks at the shared hidden states in its own way, and several backbones read a row together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from jenga.dropout import Dropout
from jenga.modalities import BaseBackbone
from jenga.types import PART, PLACE, BackboneOutput


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
        hidden = encoded.last_hidden_state
        projected = self.project(hidden)
        views = {}
        for task in tasks:
            at = self.index[task]
            weight = self._weight(projected, encoded.attention_mask, at).to(hidden.dtype)
            context = torch.bmm(weight.unsqueeze(1), hidden).squeeze(1)
            update = torch.nn.functional.linear(self.dropout(context), self.update_weight[at], self.update_bias[at])
            views[task] = replace(
                encoded,
                last_hidden_state=hidden + update.unsqueeze(1),
                pooler_output=encoded.pooler_output + update,
                # Each of an ensemble learns with what the task sees in their mean.
                members=None if encoded.members is None else encoded.members + update.unsqueeze(1),
            )
        return views

    def attention(self, encoded: BackboneOutput, task: str) -> torch.Tensor:
        """Return how much a task looks at each token, float32 ``(B, T)``, which add up to 1 in each row."""
        return self._weight(self.project(encoded.last_hidden_state), encoded.attention_mask, self.index[task])

    def _weight(self, projected: torch.Tensor, mask: torch.Tensor, at: int) -> torch.Tensor:
        score = self.score(torch.tanh(projected + self.query[at])).squeeze(-1)
        return torch.softmax(score.float().masked_fill(mask == 0, torch.finfo(torch.float32).min), dim=-1)


class JointBackbone(BaseBackbone):
    """Several backbones that read a row together: attention over the joined tokens, by a learned query.

    Each part's tokens and pooled vector are normalised and projected to one width, and told apart by a learned vector
    a part. The row's pooled vector is the mean of the parts' own, to which what the query finds in all tokens is added;
    that starts at zero. A part that a row lacks takes no share in either. `dropout`: the chance that training leaves
    out a part of a row, never all of them, so that the others learn to answer alone (Neverova et al. 2015).

    `parts` are not modules of its own: the model has them by name.
    """

    def __init__(self, parts: Mapping[str, BaseBackbone], *, dropout: float) -> None:
        super().__init__("+".join(parts), None)
        object.__setattr__(self, "parts", dict(parts))
        self.dropout = dropout
        self.width = max(part.hidden_size for part in parts.values())
        self.heads = next(heads for heads in (8, 4, 2, 1) if self.width % heads == 0)
        self.project = nn.ModuleList(_projection(part.hidden_size, self.width) for part in parts.values())
        self.pool = nn.ModuleList(_projection(part.hidden_size, self.width) for part in parts.values())
        self.kind = nn.Parameter(torch.randn(len(parts), self.width) * 0.02)
        self.query = nn.Parameter(torch.randn(self.width) * 0.02)
        self.key_value = nn.Linear(self.width, 2 * self.width)
        self.update = nn.Linear(self.width, self.width)
        nn.init.zeros_(self.update.weight)
        nn.init.zeros_(self.update.bias)

    parts: dict[str, BaseBackbone]

    @property
    def hidden_size(self) -> int:
        """Width H of the joined tokens: the widest part's."""
        return self.width

    @property
    def n_features(self) -> None:
        """None: a row is no one vector."""
        return None

    def forward(self, **inputs: torch.Tensor) -> BackboneOutput:
        """Encode rows by part; `inputs`: of each part as ``part/name``, and ``part/place (B,)``, see `jenga.types`."""
        by_part: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in inputs.items():
            name, _, inner = key.partition(PART)
            by_part.setdefault(name, {})[inner] = tensor
        places = {name: own.pop(PLACE) for name, own in by_part.items()}
        kept = self._kept(torch.stack([places[name] >= 0 for name in places], dim=1))
        tokens, masks, pooled = [], [], []
        for at, (name, own) in enumerate(by_part.items()):
            if not own:
                continue
            part = BackboneOutput.of(self.parts[name](**own), own)
            index = list(self.parts).index(name)
            # A row that lacks the part takes what another one says, and then nothing of it.
            rows, has = places[name].clamp(min=0), (places[name] >= 0).unsqueeze(1)
            there = kept[:, at].unsqueeze(1)
            found = self.project[index](part.last_hidden_state) + self.kind[index]
            tokens.append(found[rows].masked_fill(~has.unsqueeze(2), 0.0))
            masks.append(part.attention_mask[rows] * there)
            summary = self.pool[index](part.pooler_output)
            pooled.append(summary[rows].masked_fill(~there, 0.0))
        hidden, mask = torch.cat(tokens, dim=1), torch.cat(masks, dim=1)
        shares = kept.sum(1, keepdim=True).clamp(min=1)
        summary = torch.stack(pooled).sum(0) / shares.to(hidden.dtype)
        return BackboneOutput(hidden, summary + self.update(self._attended(hidden, mask)), mask)

    def _kept(self, there: torch.Tensor) -> torch.Tensor:
        """Return which parts, bool ``(B, P)``, are seen of those that are `there`: in training some are left out."""
        if not self.training or not self.dropout:
            return there
        kept = there & (torch.rand(there.shape, device=there.device) >= self.dropout)
        return torch.where(kept.any(1, keepdim=True), kept, there)

    def _attended(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return what the query finds in tokens ``(B, T, H)``, ``(B, H)``."""
        rows, length, width = hidden.shape
        part = width // self.heads
        key, value = self.key_value(hidden).view(rows, length, 2, self.heads, part).permute(2, 0, 3, 1, 4)
        query = self.query.to(hidden.dtype).view(1, self.heads, 1, part).expand(rows, -1, -1, -1)
        seen = (mask != 0).view(rows, 1, 1, length)
        found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return found.reshape(rows, width)


def _projection(width: int, to: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, to))
