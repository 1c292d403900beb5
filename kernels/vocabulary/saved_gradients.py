"""Gradients that the forward pass has computed, for the backward pass to scale and hand out."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..once import differentiable_once

Gradients = tuple[Tensor, ...]


def wanted_gradients(*inputs: Tensor | None) -> list[bool]:
    """Which inputs a gradient may be asked for; the forward pass computes them, so it has to know."""
    return [torch.is_grad_enabled() and tensor is not None and tensor.requires_grad for tensor in inputs]


def save_gradients(ctx: Any, gradients: Gradients, inputs: Sequence[Tensor | None]) -> None:
    """Keeps gradients and inputs for `scaled_gradients`; the first input has the dtype to hand them out in.

    In eager mode the gradients are the context's own: the first backward pass scales them in place and gives them
    away, so that no second buffer of the size of the weight exists. Traced code cannot give away what it has saved.
    """
    ctx.is_traced = torch.compiler.is_compiling()
    assert inputs[0] is not None
    ctx.dtype = inputs[0].dtype
    if ctx.is_traced:
        ctx.save_for_backward(*gradients)
        ctx.gradients = None
        return
    # Autograd refuses to save inference tensors, such as what a teacher gave in inference mode: kept as they are.
    ctx.inference_inputs = [each if _is_inference(each) else None for each in inputs]
    ctx.save_for_backward(*(None if _is_inference(each) else each for each in inputs))
    ctx.gradients = gradients


def _is_inference(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_inference() and not tensor.requires_grad


def scaled_gradients(
    op: str, ctx: Any, upstream: Tensor, wanted: Sequence[bool], recompute: Callable[..., Gradients]
) -> tuple[Tensor | None, ...]:
    """`upstream` () times the saved gradients; None for those not `wanted`. Differentiating them raises RuntimeError.

    Whoever receives them may write into them (autograd's accumulation of `.grad` does), so they are handed out once;
    a second pass (`retain_graph=True`) calls `recompute` with the saved inputs, which costs a forward pass.
    """
    keeps_graph = torch.is_grad_enabled()
    with torch.no_grad():
        scaled = _scaled(ctx, upstream, recompute)
    gradients = [gradient if want else None for gradient, want in zip(scaled, wanted, strict=True)]
    if not keeps_graph or ctx.is_traced:
        return tuple(gradients)
    return differentiable_once(op, gradients, (upstream, *ctx.saved_tensors))


def _scaled(ctx: Any, upstream: Tensor, recompute: Callable[..., Gradients]) -> Gradients:
    if ctx.is_traced:
        return tuple((gradient * upstream).to(ctx.dtype) for gradient in ctx.saved_tensors)
    gradients = ctx.gradients
    if gradients is None:
        inputs = zip(ctx.saved_tensors, ctx.inference_inputs, strict=True)
        gradients = recompute(*(kept if saved is None else saved for saved, kept in inputs))
    if _is_batched(upstream):
        # One gradient for each of a batch of upstream ones (`is_grads_batched=True`) does not fit in place.
        ctx.gradients = gradients
        return tuple((gradient * upstream).to(ctx.dtype) for gradient in gradients)
    ctx.gradients = None
    return tuple(gradient.mul_(upstream).to(ctx.dtype) for gradient in gradients)


def _is_batched(tensor: Tensor) -> bool:
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor)
