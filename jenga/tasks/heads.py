"""The packed weights of the heads of one task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class HeadBank(nn.Module):
    """Linear heads that read one hidden state, packed into one ``weight (sum K, H)`` and one ``bias (sum K,)``.

    State dicts show them apart, as ``<head>.weight (K, H)`` and ``<head>.bias (K,)``. They start as `nn.Linear` does,
    uniform within 1 / sqrt(H): N(0, 0.02), as transformers has it, learns slower (benchmarks/README.md, learning).
    """

    def __init__(self, sizes: Mapping[str, int], hidden_size: int) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        total = sum(self.sizes.values())
        bound = hidden_size**-0.5
        self.weight = nn.Parameter(torch.empty(total, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(total).uniform_(-bound, bound))
        self.register_state_dict_post_hook(_split)
        self.register_load_state_dict_pre_hook(_join)

    def forward(self, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits ``(..., K)`` of each head for ``hidden (..., H)``."""
        return self.split(F.linear(hidden, self.weight, self.bias))

    def split(self, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits ``(..., K)`` of each head, of those of all ``(..., sum K)``."""
        return dict(zip(self.sizes, logits.split(list(self.sizes.values()), dim=-1), strict=True))

    def view(self, head: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return a function from ``hidden (..., H)`` to the logits of `head`."""
        start = sum(size for _, size in list(self.sizes.items())[: list(self.sizes).index(head)])
        stop = start + self.sizes[head]
        return lambda hidden: F.linear(hidden, self.weight[start:stop], self.bias[start:stop])


def _split(bank: HeadBank, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    for part in ("weight", "bias"):
        packed = state.pop(f"{prefix}{part}")
        for head, rows in zip(bank.sizes, packed.split(list(bank.sizes.values())), strict=True):
            state[f"{prefix}{head}.{part}"] = rows


def _join(bank: HeadBank, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for part in ("weight", "bias"):
        keys = [f"{prefix}{head}.{part}" for head in bank.sizes]
        if all(key in state for key in keys):
            state[f"{prefix}{part}"] = torch.cat([state.pop(key) for key in keys])
