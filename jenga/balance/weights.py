"""Weights of tasks that follow their losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from jenga.balance.base import LOSS_BALANCES, LossBalance, Part


@LOSS_BALANCES.register("uncertainty")
class Uncertainty(LossBalance):
    """A learned variance s**2 each: loss / s**2 + log s, in ``log s**2`` (Kendall, Gal & Cipolla 2018, equation 10).

    A task whose loss stays high gets a small weight. The sum may fall below 0; records tell the losses themselves.
    """

    moves = True

    def __init__(self, tasks: Sequence[str], *, learning_rate: float | None = None) -> None:
        super().__init__(tasks, learning_rate=learning_rate)
        self.log_variance = nn.Parameter(torch.zeros(len(tasks)))

    def weighed(self, parts: Mapping[str, Part]) -> dict[str, torch.Tensor]:
        """Return ``exp(-v) * loss + v / 2`` of each task of the batch, v being ``log s**2``."""
        known = dict(zip(self.tasks, self.log_variance.unbind(), strict=True))
        return {name: (-known[name]).exp() * part.loss + part.share * known[name] / 2 for name, part in parts.items()}

    def weights(self) -> dict[str, float]:
        """Return ``1 / s**2`` of each task."""
        return dict(zip(self.tasks, (-self.log_variance.detach()).exp().tolist(), strict=True))


@LOSS_BALANCES.register("dwa")
class DynamicWeightAverage(LossBalance):
    """More weight for tasks whose loss falls slowly (Liu, Johns & Davison 2019, section 3.3).

    Their weights are a softmax, times the number of tasks, of what the mean loss of the epoch before is of that of the
    one before it, at `temperature`; 1 in the first two epochs.
    """

    moves = True

    def __init__(self, tasks: Sequence[str], *, temperature: float = 2.0) -> None:
        super().__init__(tasks)
        self.temperature = temperature
        for name in ("sums", "steps", "last", "before", "present"):
            self.register_buffer(name, torch.zeros(len(tasks), dtype=torch.float64))
        self.sums: torch.Tensor
        self.steps: torch.Tensor
        self.last: torch.Tensor
        self.before: torch.Tensor
        self.present: torch.Tensor
        self.present.fill_(1.0)

    def weights(self) -> dict[str, float]:
        """Return the weights of this epoch."""
        return dict(zip(self.tasks, self.present.tolist(), strict=True))

    def end_step(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Add the losses up."""
        for name, loss in losses.items():
            at = self.tasks.index(name)
            self.sums[at] += loss.double()
            self.steps[at] += 1

    def end_epoch(self) -> None:
        """Set the weights of the next epoch. A task without two epochs of losses counts as one that stands still."""
        means = torch.where(self.steps > 0, self.sums / self.steps.clamp_min(1), 0.0)
        self.before.copy_(self.last)
        self.last.copy_(means)
        known = (self.before > 0) & (self.last > 0)
        ratios = torch.where(known, self.last / self.before.clamp_min(torch.finfo(torch.float64).tiny), 1.0)
        self.present.copy_(len(self.tasks) * (ratios / self.temperature).softmax(0))
        self.sums.zero_()
        self.steps.zero_()
