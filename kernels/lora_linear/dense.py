"""`jenga::lora_linear` and its backward in PyTorch, for what tensor cores do not have: float64.

Dropout's mask is held, and waits for the seed.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .arguments import LoraArguments, WantedGradients
from .reference import dropout_threshold, keep_mask


def dense_forward(arguments: LoraArguments, biases: Sequence[Tensor | None]) -> tuple[list[Tensor], Tensor]:
    """Outputs, and drop(x) A^T of all updates, (M, R), without the scale of what dropout keeps; a bias a layer."""
    x, rows = arguments.x, arguments.rows
    outputs = [
        F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        for weight, bias in zip(arguments.weights, biases, strict=True)
    ]
    kept, keep_scale = _kept(x, arguments), _keep_scale(arguments.dropout)
    projected = [
        _seen(kept @ lora_a.to(x.dtype).t(), rows, adapter)
        for lora_a, adapter in zip(arguments.lora_as, arguments.adapters, strict=True)
    ]
    for part, ranks in enumerate(projected):
        scale = arguments.scales[part] * keep_scale
        outputs[arguments.projections[part]] += scale * ranks @ arguments.lora_bs[part].to(x.dtype).t()
    return outputs, torch.cat(projected, 1) if projected else x.new_empty((x.shape[0], 0))


def dense_backward(
    arguments: LoraArguments, grads: Sequence[Tensor], projected: Tensor, wanted: WantedGradients
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The gradients of x, A and B; those that are not wanted have no dimension, or are no list."""
    x, lora_as, lora_bs = arguments.x, arguments.lora_as, arguments.lora_bs
    das, dbs, through_a = [], [], torch.zeros_like(x)
    kept, keep_scale = _kept(x, arguments), _keep_scale(arguments.dropout)
    of_part = projected.split([lora_a.shape[0] for lora_a in lora_as], 1)
    for part, ranks in enumerate(of_part):
        grad = grads[arguments.projections[part]] * (arguments.scales[part] * keep_scale)
        dranks = _seen(grad @ lora_bs[part].to(x.dtype), arguments.rows, arguments.adapters[part])
        through_a += dranks @ lora_as[part].to(x.dtype)
        das.append((dranks.t() @ kept).to(lora_as[part].dtype))
        dbs.append((grad.t() @ ranks).to(lora_bs[part].dtype))
    dx = _kept(through_a, arguments)
    for grad, weight in zip(grads, arguments.weights, strict=True):
        dx = torch.addmm(dx, grad, weight.to(x.dtype))
    return dx if wanted.x else x.new_empty(0), das if wanted.a else [], dbs if wanted.b else []


def _keep_scale(dropout: float) -> float:
    return 1 / (1 - dropout_threshold(dropout) / 65536)


def _kept(values: Tensor, arguments: LoraArguments) -> Tensor:
    """Values (M, K) where dropout keeps those of x, 0 elsewhere."""
    if not arguments.dropout:
        return values
    assert arguments.seed is not None
    mask = keep_mask(*values.shape, dropout=arguments.dropout, seed=arguments.seed, device=values.device)
    return values.where(mask, 0.0)


def _seen(ranks: Tensor, rows: Tensor | None, adapter: int) -> Tensor:
    return ranks if rows is None else ranks.where((rows == adapter)[:, None], 0.0)
