"""`jenga::lora_linear` and its backward in PyTorch, for what tensor cores do not have: float64.

Dropout's mask is held, and waits for the seed.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import dropout_threshold, keep_mask


def dense_forward(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    lora_as: Sequence[Tensor],
    lora_bs: Sequence[Tensor],
    scales: Sequence[float],
    projections: Sequence[int],
    adapters: Sequence[int],
    rows: Tensor | None,
    dropout: float,
    seed: Tensor | None,
) -> tuple[list[Tensor], Tensor]:
    """Outputs, and drop(x) A^T of all updates, (M, R), without the scale of what dropout keeps."""
    outputs = [
        F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        for weight, bias in zip(weights, biases, strict=True)
    ]
    kept = _kept(x, dropout, seed)
    projected = [
        _seen(kept @ lora_a.to(x.dtype).t(), rows, adapter) for lora_a, adapter in zip(lora_as, adapters, strict=True)
    ]
    for part, ranks in enumerate(projected):
        outputs[projections[part]] += scales[part] * _keep_scale(dropout) * ranks @ lora_bs[part].to(x.dtype).t()
    return outputs, torch.cat(projected, 1) if projected else x.new_empty((x.shape[0], 0))


def dense_backward(
    grads: Sequence[Tensor],
    x: Tensor,
    projected: Tensor,
    weights: Sequence[Tensor],
    lora_as: Sequence[Tensor],
    lora_bs: Sequence[Tensor],
    scales: Sequence[float],
    projections: Sequence[int],
    adapters: Sequence[int],
    rows: Tensor | None,
    dropout: float,
    seed: Tensor | None,
    wants_x: bool,
    wants_a: bool,
    wants_b: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The gradients of x, A and B; those that are not wanted have no dimension, or are no list."""
    das, dbs, through_a = [], [], torch.zeros_like(x)
    kept = _kept(x, dropout, seed)
    of_part = projected.split([lora_a.shape[0] for lora_a in lora_as], 1)
    for part, ranks in enumerate(of_part):
        grad = grads[projections[part]] * (scales[part] * _keep_scale(dropout))
        dranks = _seen(grad @ lora_bs[part].to(x.dtype), rows, adapters[part])
        through_a += dranks @ lora_as[part].to(x.dtype)
        das.append((dranks.t() @ kept).to(lora_as[part].dtype))
        dbs.append((grad.t() @ ranks).to(lora_bs[part].dtype))
    dx = _kept(through_a, dropout, seed)
    for grad, weight in zip(grads, weights, strict=True):
        dx = torch.addmm(dx, grad, weight.to(x.dtype))
    return dx if wants_x else x.new_empty(0), das if wants_a else [], dbs if wants_b else []


def _keep_scale(dropout: float) -> float:
    return 1 / (1 - dropout_threshold(dropout) / 65536)


def _kept(x: Tensor, dropout: float, seed: Tensor | None) -> Tensor:
    if not dropout:
        return x
    assert seed is not None
    return x.where(keep_mask(*x.shape, dropout=dropout, seed=seed, device=x.device), 0.0)


def _seen(ranks: Tensor, rows: Tensor | None, adapter: int) -> Tensor:
    return ranks if rows is None else ranks.where((rows == adapter)[:, None], 0.0)
