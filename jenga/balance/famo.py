"""Weights by which the losses of tasks fall at like rates, from how they changed at the last step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from jenga.balance.base import LOSS_BALANCES, LossBalance, Part

_SMALLEST = 1e-8
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


@LOSS_BALANCES.register("famo")
class Famo(LossBalance):
    """Fast adaptive multitask optimization (Liu, Feng, Stone & Liu 2023, algorithm 1).

    A step minimises the logarithms of losses, each weighed by a softmax z of logits and all by ``c = 1 / sum(z /
    loss)``; then the losses of the same rows are computed again, and logits move towards tasks whose logarithm fell
    least, by Adam at `learning_rate`, with a decay of `gamma`. As a sum of losses has it, the weights add up to the
    number of tasks. Losses must not be negative.
    """

    moves, reads_losses_after, compares = True, True, True

    def __init__(self, tasks: Sequence[str], *, learning_rate: float = 0.025, gamma: float = 0.001) -> None:
        super().__init__(tasks, learning_rate=learning_rate)
        self.gamma = gamma
        for name in ("logits", "mean", "square"):
            self.register_buffer(name, torch.zeros(len(tasks)))
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("present", torch.ones(len(tasks)))
        self.logits: torch.Tensor
        self.mean: torch.Tensor
        self.square: torch.Tensor
        self.steps: torch.Tensor
        self.present: torch.Tensor

    def weighed(self, parts: Mapping[str, Part]) -> dict[str, torch.Tensor]:
        """Return ``z * log(loss)`` of each task of the batch; `settle` knows c, once all tasks of a step are there."""
        known = dict(zip(self.tasks, self.logits.softmax(0).unbind(), strict=True))
        return {name: known[name] * part.loss.clamp_min(_SMALLEST).log() for name, part in parts.items()}

    def weights(self) -> dict[str, float]:
        """Return what each task's loss was weighed by in the last step that it was in."""
        return dict(zip(self.tasks, self.present.tolist(), strict=True))

    def settle(self, losses: Mapping[str, torch.Tensor], norms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return c times the number of tasks in the step."""
        at = [self.tasks.index(name) for name in losses]
        shares = self.logits.softmax(0)[at] / torch.stack([*losses.values()]).float().clamp_min(_SMALLEST)
        scale = len(at) / shares.sum()
        self.present[at] = shares * scale
        return scale

    def look_again(self, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> None:
        """Move the logits by how much the logarithm of each loss fell."""
        shares, fell = self.logits.softmax(0), torch.zeros_like(self.logits)
        at = [self.tasks.index(name) for name in before]
        ends = [torch.stack([each[name].float() for name in before]).clamp_min(_SMALLEST) for each in (before, after)]
        fell[at] = ends[0].log() - ends[1].log()
        # Tasks that are not there stand still: they count as what those that are did on average.
        absent = [each for each in range(len(self.tasks)) if each not in at]
        fell[absent] = (shares[at] * fell[at]).sum() / shares[at].sum()
        # The softmax's Jacobian, transposed, times what fell.
        gradient = shares * (fell - (shares * fell).sum()) + self.gamma * self.logits
        self.steps += 1
        self.mean.lerp_(gradient, 1 - _BETAS[0])
        self.square.lerp_(gradient.square(), 1 - _BETAS[1])
        mean, square = self.mean / (1 - _BETAS[0] ** self.steps), self.square / (1 - _BETAS[1] ** self.steps)
        assert self.learning_rate is not None
        self.logits -= self.learning_rate * mean / (square.sqrt() + _EPSILON)
