"""What the public functions of lora_linear refuse, before anything is computed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .parts import FrozenWeight, Update


def check_call(
    x: Tensor,
    weights: Sequence[Tensor | FrozenWeight],
    biases: Sequence[Tensor | None],
    updates: Sequence[Update],
    rows: Tensor | None,
    dropout: float,
) -> None:
    """Raise ValueError where the arguments of `lora_linear_updates` disagree."""
    if x.dim() < 1 or not x.is_floating_point():
        raise ValueError(f"x: got {x.dtype} of shape {tuple(x.shape)}; allowed: floating, at least one dimension")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout: got {dropout}; allowed: 0 <= dropout < 1")
    if not weights or len(weights) != len(biases):
        raise ValueError(f"weights, biases: got {len(weights)} and {len(biases)}; allowed: as many, 1 or more")
    if rows is not None and (rows.dtype != torch.int64 or rows.shape != x.shape[:-1]):
        raise ValueError(
            f"rows: got {rows.dtype} of shape {tuple(rows.shape)}; allowed: int64 {tuple(x.shape[:-1])}, the "
            "adapter of each row"
        )
    for index, weight in enumerate(weights):
        if isinstance(weight, Tensor):
            _check_weight(index, x, weight, biases[index])
    for index, update in enumerate(updates):
        _check_update(index, x, weights, update)


def _check_weight(index: int, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if weight.dim() != 2 or weight.shape[1] != x.shape[-1]:
        raise ValueError(f"weight {index}: got shape {tuple(weight.shape)}; allowed: (N, {x.shape[-1]})")
    if weight.device != x.device:
        raise ValueError(f"weight {index}: is on {weight.device}, x on {x.device}; move one")
    if weight.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(f"weight {index}: is {weight.dtype}, x {x.dtype}; cast one, or use torch.autocast")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {index}: got shape {tuple(bias.shape)}; allowed: ({weight.shape[0]},)")


def _check_update(index: int, x: Tensor, weights: Sequence[Tensor | FrozenWeight], update: Update) -> None:
    lora_a, lora_b = update.lora_a, update.lora_b
    if not 0 <= update.projection < len(weights):
        raise ValueError(f"update {index}: projection {update.projection}; allowed: 0 to {len(weights) - 1}")
    weight = weights[update.projection]
    n_outputs = weight.shape[0] if isinstance(weight, Tensor) else lora_b.shape[0]
    if lora_a.dim() != 2 or lora_a.shape[0] < 1 or lora_a.shape[1] != x.shape[-1]:
        raise ValueError(f"lora_a {index}: got shape {tuple(lora_a.shape)}; allowed: (R, {x.shape[-1]}), R at least 1")
    if lora_b.shape != (n_outputs, lora_a.shape[0]):
        raise ValueError(f"lora_b {index}: got shape {tuple(lora_b.shape)}; allowed: ({n_outputs}, {lora_a.shape[0]})")
