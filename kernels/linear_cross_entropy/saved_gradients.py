"""Gradients that the forward pass has computed, for the backward pass to scale and hand out."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor, ...]


def save_gradients(ctx: Any, gradients: Gradients, inputs: tuple[Tensor | None, ...]) -> None:
    """Keeps gradients and inputs for `scaled_gradients`.

    In eager mode the gradients are the context's own: the first backward pass scales them in place and gives them
    away, so that no second buffer of the size of the weight exists. Traced code cannot give away what it has saved.
    """
    ctx.is_traced = torch.compiler.is_compiling()
    if ctx.is_traced:
        ctx.save_for_backward(*gradients)
        ctx.gradients = None
    else:
        ctx.save_for_backward(*inputs)
        ctx.gradients = gradients


def scaled_gradients(ctx: Any, upstream: Tensor, recompute: Callable[..., Gradients]) -> Gradients:
    """`upstream` () times the saved gradients.

    Whoever receives them may write into them (autograd's accumulation of `.grad` does), so they are handed out once;
    a second pass (`retain_graph=True`) calls `recompute` with the saved inputs, which costs a forward pass.
    """
    if ctx.is_traced:
        return tuple((gradient * upstream).to(gradient.dtype) for gradient in ctx.saved_tensors)
    gradients = ctx.gradients if ctx.gradients is not None else recompute(*ctx.saved_tensors)
    ctx.gradients = None
    return tuple(gradient.mul_(upstream) for gradient in gradients)
