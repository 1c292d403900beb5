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

    What it keeps from step to step are parameters, which are trained without decay at `learning_rate` (None: the rate
    of the heads), and buffers; both stand in checkpoints. A step may come in several batches, and hold some of the
    tasks only.
    """

    moves: ClassVar[bool] = False
    """Whether weights change."""

    reads_norms: ClassVar[bool] = False
    """Whether `settle` is told of gradient norms, for which each task needs a backward pass through the last layer."""

    reads_losses_after: ClassVar[bool] = False
    """Whether `look_again` is told of losses after the step, for which its batches need a forward pass more.

    Then all rows of a source in a step are one batch.
    """

    compares: ClassVar[bool] = False
    """Whether it holds the tasks of a step against one another, so that it does nothing where each step has one."""

    def __init__(self, tasks: Sequence[str], *, learning_rate: float | None = None) -> None:
        super().__init__()
        self.tasks, self.learning_rate = tuple(tasks), learning_rate

    @property
    def takes_losses(self) -> bool:
        """Whether it has a use for the losses of a step over all of its batches, for which each step then waits."""
        own = type(self)
        return self.moves or own.settle is not LossBalance.settle or own.end_step is not LossBalance.end_step

    def weighed(self, parts: Mapping[str, Part]) -> dict[str, torch.Tensor]:
        """Return by task what is minimised of a batch, ``()``, which adds up over the batches of a step."""
        weights = self.weights()
        return {name: weights[name] * part.loss for name, part in parts.items()}

    def weights(self) -> dict[str, float]:
        """Return the present weight of each task, as records tell it."""
        return dict.fromkeys(self.tasks, 1.0)

    def settle(self, losses: Mapping[str, torch.Tensor], norms: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """Return what all gradients of a step are multiplied by before they are clipped, ``()``; default: None.

        losses: of the tasks of the step, ``()`` each; norms: of the gradients that these have for the last layer which
        tasks share, ``()`` each. What it sets as gradients of its own parameters is left as it is.
        """
        return None

    def look_again(self, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> None:
        """Take in the losses of a step's rows, by task, before and after the step; default: nothing."""

    def end_step(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Take in the losses of a step that was taken, ``()`` each, without gradients; default: nothing."""

    def end_epoch(self) -> None:
        """Begin an epoch anew; default: nothing."""


LOSS_BALANCES: Registry[LossBalance] = Registry("loss balance", entry_point_group="jenga.loss_balances")


@LOSS_BALANCES.register("fixed")
class Fixed(LossBalance):
    """Leaves the weights to the configuration."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
