"""`skinny_linear`: the op and its backward, when they are worth it, and their fakes.

Ops use them inside an `autograd.Function` of their own. `F.linear` is the truth that they are tested against, and what
is to be taken where `is_skinny` says no.
"""

import torch
from torch import Tensor

from .._native import CPU
from ..registration import register_without_autograd

SKINNY_OUTPUTS = 128
"""Outputs up to which our own float32 products beat the general GEMM on a CPU."""


def is_skinny(x: Tensor, n_outputs: int) -> bool:
    """Whether a product of x (M, K), or of a gradient (M, n_outputs), is one for these ops."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and n_outputs <= SKINNY_OUTPUTS


def skinny_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b, (M, N), of x (M, K), weight (N, K) and bias (N,), all float32 on a CPU. No gradient is recorded.

    Raises:
        ValueError: shapes or dtypes disagree.
    """
    result: Tensor = torch.ops.jenga.skinny_linear(x, weight, bias)
    return result


def skinny_linear_gradients(
    grad: Tensor, x: Tensor | None, weight: Tensor | None, wants_bias: bool
) -> tuple[Tensor | None, ...]:
    """The gradients of x (where weight is given), weight (where x is given) and bias, None where not wanted.

    grad: (M, N), of the result. Raises ValueError where shapes or dtypes disagree.
    """
    found = torch.ops.jenga.skinny_linear_backward(grad, x, weight, wants_bias)
    return tuple(each if each.dim() else None for each in found)


def _fake_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


def _fake_linear_backward(
    grad: Tensor, x: Tensor | None, weight: Tensor | None, wants_bias: bool
) -> tuple[Tensor, ...]:
    n_rows, n_outputs = grad.shape
    return (
        grad.new_empty(() if weight is None else (n_rows, weight.shape[1])),
        grad.new_empty(() if x is None else (n_outputs, x.shape[1])),
        grad.new_empty((n_outputs,) if wants_bias else ()),
    )


if CPU.implementation == "native":
    _LIBRARY = register_without_autograd(
        {"skinny_linear": _fake_linear, "skinny_linear_backward": _fake_linear_backward},
        subject="skinny_linear (what multi_head_loss makes its logits with)", rows="x",
    )  # fmt: skip
