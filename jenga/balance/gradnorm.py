"""Weights by which tasks train at like rates: the norms of their gradients are drawn towards what that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from jenga.balance.base import LOSS_BALANCES, LossBalance, Part


@LOSS_BALANCES.register("gradnorm")
class GradNorm(LossBalance):
    """Gradient normalisation (Chen, Badrinarayanan, Lee & Rabinovich 2018, section 3.2, algorithm 1).

    Of the last layer W that tasks share, each has ``G = |w * dL/dW|``. The weights w minimise the sum of ``|G - mean(G)
    * r ** alpha|``, the second term held fixed; r is how much is left of a task's first loss, over the mean of that.
    They add up to the number of tasks. alpha: 0 draws all norms to one, more gives slow tasks more.
    """

    moves, reads_norms, compares = True, True, True

    def __init__(self, tasks: Sequence[str], *, alpha: float = 1.5, learning_rate: float = 0.025) -> None:
        super().__init__(tasks, learning_rate=learning_rate)
        self.alpha = alpha
        self.weight = nn.Parameter(torch.ones(len(tasks)))
        self.first: torch.Tensor
        self.register_buffer("first", torch.full((len(tasks),), torch.nan))

    def weighed(self, parts: Mapping[str, Part]) -> dict[str, torch.Tensor]:
        """Return the loss of each task times its weight, which learns nothing of that."""
        known = dict(zip(self.tasks, self.weight.detach().unbind(), strict=True))
        return {name: known[name] * part.loss for name, part in parts.items()}

    def weights(self) -> dict[str, float]:
        """Return the weight of each task."""
        return dict(zip(self.tasks, self.weight.tolist(), strict=True))

    def settle(self, losses: Mapping[str, torch.Tensor], norms: Mapping[str, torch.Tensor]) -> None:
        """Give the weights of the step's tasks their gradients.

        There are none for a task alone, nor before each task of the step has had a loss that is positive and finite.
        """
        at = [self.tasks.index(name) for name in norms]
        now = torch.stack([losses[name].float() for name in norms]) if at else self.first[:0]
        first = self.first[at]
        self.first[at] = torch.where(first.isnan() & now.isfinite() & (now > 0), now, first)
        self.weight.grad = torch.zeros_like(self.weight)
        if len(at) < 2 or not bool((self.first[at].isfinite() & now.isfinite()).all()):
            return
        own = torch.stack([norms[name] for name in norms])
        left = (now / self.first[at]).clamp_min(0.0)
        rates = left / left.mean().clamp_min(torch.finfo(now.dtype).tiny)
        weighed = self.weight.detach()[at] * own
        self.weight.grad[at] = (weighed - weighed.mean() * rates**self.alpha).sign() * own

    @torch.no_grad()
    def end_step(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Let the weights add up to the number of tasks again; none is negative."""
        self.weight.clamp_(min=0.0)
        self.weight.mul_(len(self.tasks) / self.weight.sum())
