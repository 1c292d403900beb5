"""The refinery as a module of tensors, for graphs that read rows as bytes."""

from __future__ import annotations

import torch
from torch import nn

from jenga.refinery import SecurityRefinery


class Refined(nn.Module):
    """From bytes of JSON to features, by the op of the refinery: what a compiled model begins with.

    It does what the op does and no more: rows that lack most fields, and what came before a row, are judged by
    whoever calls it.
    """

    plan: torch.Tensor
    before: torch.Tensor

    def __init__(self, refinery: SecurityRefinery) -> None:
        super().__init__()
        self.n_features = refinery.n_features_out_
        self.register_buffer("plan", torch.frombuffer(bytearray(refinery.plan_), dtype=torch.uint8))
        self.register_buffer("before", torch.empty(0, dtype=torch.float64))

    def forward(self, data: torch.Tensor, row_offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features of the good rows, float32 ``(M, F)``, and the bad rows, int64 ``(Q, 3)``.

        data: uint8 bytes; row_offsets: int64 ``(R, 2)``, [begin, end) of each row in them. A bad row is its number from
        0 on, an error code and a position.
        """
        found = torch.ops.jenga.refine(data, row_offsets, self.plan, self.before, 1)
        features, quarantine = found[0], found[3]
        torch._check(features.shape[1] == self.n_features)
        return features, quarantine
