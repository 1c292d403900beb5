"""The arguments of the op and its backward, gathered from the positions that the dispatcher hands them over in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, eq=False)
class LoraArguments:
    """What both passes are given, in the order of csrc/ops.cpp, which explains them; `jenga::LoraArguments` in C++.

    Update j, `scales[j] * lora_bs[j] @ lora_as[j]`, belongs to layer `projections[j]`; where there are `rows`, only
    those of adapter `adapters[j]` see it.
    """

    x: Tensor
    weights: Sequence[Tensor]
    lora_as: Sequence[Tensor]
    lora_bs: Sequence[Tensor]
    scales: Sequence[float]
    projections: Sequence[int]
    adapters: Sequence[int]
    rows: Tensor | None
    dropout: float
    seed: Tensor | None

    @property
    def n_ranks(self) -> int:
        """Ranks of all updates together."""
        return sum(lora_a.shape[0] for lora_a in self.lora_as)

    def tensors(self) -> list[Tensor | None]:
        """All but x."""
        return [*self.weights, *self.lora_as, *self.lora_bs, self.rows, self.seed]


class WantedGradients(NamedTuple):
    """Which gradients a backward pass is to compute."""

    x: bool
    a: bool
    b: bool
