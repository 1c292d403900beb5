"""Steps of few rows, such as a token's: there torch's own products are taken, one by one."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..autocast import autocast_is_on
from .parts import FrozenWeight, Update

FEW_ROWS = 16
"""Rows below which a pass through Python costs more than it saves."""


def has_few_rows(x: Tensor, weight: Tensor | FrozenWeight, bias: Tensor | None, update: Update) -> bool:
    """Whether torch's own products are taken. What they would not refuse is left to the checks of the op."""
    return (
        isinstance(weight, Tensor)
        and x.numel() < FEW_ROWS * x.shape[-1]
        and x.dim() > 1
        and weight.dim() == 2
        and x.layout == weight.layout == torch.strided
        and x.dtype in (torch.float32, torch.float64)
        and x.dtype == weight.dtype == update.lora_a.dtype == update.lora_b.dtype
        and update.lora_b.shape == (weight.shape[0], update.lora_a.shape[0])
        and update.lora_a.shape[0] > 0
        and (bias is None or (bias.shape == weight.shape[:1] and bias.dtype == x.dtype and bias.is_cpu))
        and weight.is_cpu
        and update.lora_a.is_cpu
        and update.lora_b.is_cpu
        and update.projection == 0
        and update.adapter >= 0
        and not autocast_is_on("cpu")
    )


def linear_of_few_rows(x: Tensor, weight: Tensor, bias: Tensor | None, update: Update) -> Tensor:
    """x W^T + b + scale * (x A^T) B^T for x (..., K), of two dimensions or more; torch records the gradients."""
    flat = x if x.dim() == 2 else x.flatten(0, -2)
    base, projected = F.linear(flat, weight, bias), F.linear(flat, update.lora_a)
    output = torch.addmm(base, projected, update.lora_b.t(), alpha=update.scale)
    return output if x.dim() == 2 else output.reshape(*x.shape[:-1], output.shape[-1])
