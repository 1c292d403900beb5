"""What weighs the losses of tasks, and the registry of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import nn

from jenga.registry import Registry


class Part(NamedTuple):
    """What a batch adds to its step of one task: of its `loss`, ``()``, and of its labels, a share ``()`` from 0 to 1.

    A task without a label in the whole step has a loss and a share of 0.
    """

    loss: torch.Tensor
    share: torch.Tensor


class LossBalance(nn.Module):
    """Weighs `tasks`: one weight each, beside those of the configuration. Its own settings are keyword parameters.

    What it keeps from step to step are parameters, which are trained at the rate of the heads without decay, and
    buffers; both stand in checkpoints. A step may come in several batches, and hold some of the tasks only.
    """

    moves: ClassVar[bool] = False
    """Whether weights change."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def weighed(self, parts: Mapping[str, Part]) -> dict[str, torch.Tensor]:
        """Return by task what is minimised of a batch, ``()``, which adds up over the batches of a step."""
        weights = self.weights()
        return {name: weights[name] * part.loss for name, part in parts.items()}

    def weights(self) -> dict[str, float]:
        """Return the present weight of each task, as records tell it."""
        return dict.fromkeys(self.tasks, 1.0)

    def end_step(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Take in the losses of a step that was taken, ``()`` each, without gradients; default: nothing."""

    def end_epoch(self) -> None:
        """Begin an epoch anew; default: nothing."""


LOSS_BALANCES: Registry[LossBalance] = Registry("loss balance", entry_point_group="jenga.loss_balances")

LOSS_BALANCES.register("fixed")(LossBalance)
