"""Batch normalisation over the rows of all processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from jenga.errors import ConfigError
from jenga.processes import Processes
from jenga.trainer.judged import batch_norms


def join_norms(model: torch.nn.Module, processes: Processes, fewest: Callable[[], int]) -> None:
    """Let batch normalisation in training have the statistics of a step's rows, of which each process has a share.

    fewest: tells how many rows the smallest batch has. Raises ConfigError where these are too few for each process to
    take part.
    """
    norms = batch_norms(model)
    if processes.size == 1 or not norms:
        return
    if (rows := fewest()) < processes.size:
        raise ConfigError(
            f"training.batch_size: one of the batches has {rows} rows, and batch normalisation in {processes.size} "
            "processes needs one for each; choose another batch_size or tokens_per_step, or fewer processes"
        )
    for each in norms.values():
        each.forward = partial(_normalised, each, each.forward)  # type: ignore[method-assign]


def _normalised(norm: _BatchNorm, alone: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    """Return ``(x - mean) / sqrt(variance + eps) * weight + bias`` (Ioffe & Szegedy 2015) of hidden ``(B, C, ...)``."""
    if not norm.training or not torch.is_grad_enabled():  # without gradients all see the same rows
        return alone(hidden)
    from torch.distributed.nn.functional import all_reduce

    over = [0, *range(2, hidden.ndim)]
    shape = [1, -1, *[1] * (hidden.ndim - 2)]
    # Sums of float64: a column may be large and nearly constant.
    own = hidden.double().sum(over)
    sums = all_reduce(torch.cat([own, own.new_tensor([hidden.numel() / hidden.shape[1]])]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = hidden - mean.to(hidden.dtype).view(shape)
    variance = all_reduce(centred.double().square().sum(over)) / count
    _keep(norm, mean.detach(), variance.detach() * count / (count - 1))
    made = centred * (variance + norm.eps).rsqrt().to(hidden.dtype).view(shape)
    if norm.weight is not None:
        made = made * norm.weight.view(shape) + norm.bias.view(shape)
    found: torch.Tensor = made
    return found


@torch.no_grad()
def _keep(norm: _BatchNorm, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """Take the statistics of a step into the running ones."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)
