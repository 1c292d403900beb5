"""Which positions of a row an answer rests on: gradient times input, and where the fusion looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jenga.labels import kind_named
from jenga.model import MultiTaskModel
from jenga.rows.batches import Batch, EncodedSplit
from jenga.types import BackboneOutput, HeadSpace

Weights = NDArray[np.float64]


class Mattered(NamedTuple):
    """Of each position ``(T,)`` of each row: its share in the answer, and, of a task with a fusion, its attention."""

    shares: list[Weights]
    attention: list[Weights] | None


def mattered(
    model: MultiTaskModel, part: EncodedSplit, space: HeadSpace, rows: Sequence[int], *, batch_size: int,
    device: torch.device, autocast: Callable[[], AbstractContextManager[Any]],
) -> Mattered | None:  # fmt: skip
    """Return how much each position of `rows` speaks for the answers of a head; None where that cannot be told.

    A share is the size of gradient times input at the embeddings (Shrikumar et al. 2017, section 3.2) of what stands
    for the answer, see `LabelKind.said`, as a share of the row's. It can be told of a head that reads the pooled vector
    of a backbone with embeddings. One pass forward and one back over each `batch_size` of these rows, as a gradient
    holds all that lies between.
    """
    layer, task = model.encoder_of(space.task).embeddings, model.tasks[space.task]
    if layer is None or task.by_position or not rows:
        return None
    found: list[Mattered] = []
    for start in range(0, len(rows), batch_size):
        batch = part.batch(list(rows[start : start + batch_size])).to(device)
        each = _of_batch(model, batch, space, layer, autocast=autocast)
        if each is None:
            return None
        found.append(each)
    attention = [row for each in found for row in each.attention or ()]
    return Mattered([row for each in found for row in each.shares], attention or None)


def _of_batch(
    model: MultiTaskModel, batch: Batch, space: HeadSpace, layer: nn.Module, *,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> Mattered | None:  # fmt: skip
    mask = batch.inputs.get("attention_mask")
    if mask is None:
        return None
    kept: list[torch.Tensor] = []
    looked: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(_leaf(kept))]
    own = [model.fusion[name] for name in model.fusion if name == model.reads[space.task]]
    hooks += [fusion.register_forward_hook(_looking(looked, space.task)) for fusion in own]
    model.eval()
    try:
        # cuDNN takes a recurrent network's gradient in training alone.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False), autocast():
            logits = model(batch.inputs, [space.task])[space.task].logits[space.head]
            said = kind_named(space.kind).said(logits.float())
            if said is None or not said.requires_grad or len(kept) != 1:
                return None
            (gradient,) = torch.autograd.grad(said.sum(), kept)
    finally:
        for hook in hooks:
            hook.remove()
    sizes = (gradient.float() * kept[0].detach().float()).sum(-1).abs() * mask
    shares = sizes / sizes.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return Mattered(_by_row(shares, mask), _by_row(looked[0], mask) if looked else None)


def _leaf(kept: list[torch.Tensor]) -> Callable[[nn.Module, Any, torch.Tensor], torch.Tensor]:
    def hook(module: nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    return hook


def _looking(looked: list[torch.Tensor], task: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: Any, arguments: tuple[BackboneOutput, Sequence[str]], output: Any) -> None:
        looked.append(module.attention(arguments[0], task).detach())

    return hook


def _by_row(weights: torch.Tensor, mask: torch.Tensor) -> list[Weights]:
    lengths = mask.sum(-1).tolist()
    return [row[:length].double().cpu().numpy() for row, length in zip(weights, lengths, strict=True)]
