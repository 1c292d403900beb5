"""Gradients that cannot be differentiated again say so, instead of counting as constants."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def differentiable_once(
    op: str, gradients: Sequence[Tensor | None], sources: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The gradients, such that a backward pass through one raises RuntimeError with the name of `op`.

    To be called in a backward pass that keeps its graph (grad mode is on); `sources` are what the gradients depend on.
    """
    inputs = [each for each in sources if each is not None]
    return tuple(None if each is None else _Once.apply(op, each, *inputs) for each in gradients)


class _Once(torch.autograd.Function):
    # With a setup_context of its own, so that torch.func.grad may pass through it.
    generate_vmap_rule = True

    @staticmethod
    def forward(op: str, gradient: Tensor, *sources: Tensor) -> Tensor:
        return gradient.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.op = inputs[0]

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError(f"{ctx.op} has no second derivative; its gradients cannot be differentiated again")
