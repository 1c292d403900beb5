"""`multi_head_loss`: the public function, its autograd, and the fake implementations that torch.compile traces."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._native import CPU, backend
from ..autocast import as_autocast
from ..dtypes import accumulate_dtype
from ..once import differentiable_once
from ..registration import register_without_autograd
from ..skinny_linear import is_skinny, skinny_linear, skinny_linear_gradients
from .reference import check_arguments, multi_head_loss_reference
from .spec import CLASS_KINDS, KINDS, HeadSpec, MultiHeadLoss, head_tasks


def multi_head_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Sequence[Tensor],
    *,
    heads: Sequence[HeadSpec],
    rows: Tensor | None = None,
) -> MultiHeadLoss:
    """Losses and predictions of N heads that read one hidden state, through one GEMM and one pass over the logits.

    Head i reads columns `[offset_i, offset_i + K_i)` of `logits = hidden @ weight.T + bias`. Its loss is summed over
    its unmasked labels, computed in float32 (float64 for float64 logits); each term is that of `F.cross_entropy`,
    `F.binary_cross_entropy_with_logits` or `F.mse_loss` with `reduction="sum"`, or the focal loss
    `-w (1 - p)^gamma log p` (Lin et al. 2017, equation 5). Where every label of a head is masked, its loss and its
    gradient are exactly 0 (PyTorch's mean gives NaN). Sums are added in a fixed order, so a result does not depend on
    the number of threads. The derivatives by the logits are computed with the losses, when a gradient is wanted.

    Args:
        hidden: (M, H) floating. Under autocast, `hidden` and `weight` are cast as for any linear layer.
        weight: (sum K, H), the heads' weights stacked in the order of `heads`.
        bias: (sum K,) or None.
        targets: one tensor a head. ce, focal: int64 (M,), -100 where masked. bce, mse: floating (M, K), NaN where
            masked. soft: floating (M, K), a row with a NaN is masked.
        heads: N heads, at least 1.
        rows: int64 (M,), the task of each row, or None. With it, a head sees only the rows of its task
            (`HeadSpec.task`): others add nothing to it, and what its targets hold there is not read (routed mode).

    Returns:
        `MultiHeadLoss(loss_sum (N,), count (N,), predictions, logits (M, sum K))`; only `loss_sum` is differentiable,
        by `hidden`, `weight` and `bias` but not by targets, in backward mode and only once (no torch.func transforms).

    Raises:
        ValueError: targets, weight and heads disagree in number, shape or dtype, or a label is out of range; the
            message names head, row, label and the allowed range. On CUDA an out-of-range label makes the head's
            loss_sum NaN, and a later call raises: a check at once would wait for the device.
    """
    check_arguments(hidden, weight, targets, heads, rows)
    if backend(hidden.device.type).implementation == "reference":
        return multi_head_loss_reference(hidden, weight, bias, targets, heads=heads, rows=rows)
    hidden, weight, bias = as_autocast(hidden, weight, bias)
    wants_grad = torch.is_grad_enabled() and (
        hidden.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    )
    sizes = [head.size for head in heads]
    weighted = [place for place, head in enumerate(heads) if head.label_weight is not None]
    parameters = [head.parameter for head in heads]
    logits = _logits(hidden, weight, bias)
    loss_sum, count, slope, classes, items, values = torch.ops.jenga.multi_head_loss(
        logits,
        targets,
        [KINDS.index(head.kind) for head in heads],
        sizes,
        [heads[place].label_weight for place in weighted],
        weighted,
        parameters if any(parameters) else [],
        rows,
        [] if rows is None else head_tasks(heads),
        wants_grad,
    )
    # Without a wanted gradient too: there it refuses forward-mode derivatives, which would come out as 0.
    if torch.is_grad_enabled():
        loss_sum = _LinearLoss.apply(hidden, weight, bias, loss_sum, slope, sizes)
    return MultiHeadLoss(loss_sum, count, _predictions(heads, classes, items, values), logits.detach())


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Logits (M, sum K) without a gradient of their own: `_LinearLoss` has it."""
    if is_skinny(hidden, weight.shape[0]) and weight.dtype == torch.float32:
        return skinny_linear(hidden, weight, bias)
    with torch.no_grad():
        return F.linear(hidden, weight, bias)


def _predictions(heads: Sequence[HeadSpec], classes: Tensor, items: Tensor, values: Tensor) -> list[Tensor]:
    """Views of the packed predictions, in the order of the heads."""
    by_class = classes.unbind(0)
    if len(by_class) == len(heads):
        return list(by_class)
    packed = {
        "bce": iter(items.split([head.size for head in heads if head.kind == "bce"], dim=1)),
        "mse": iter(values.split([head.size for head in heads if head.kind == "mse"], dim=1)),
    }
    rest = iter(by_class)
    return [next(packed.get(head.kind, rest)) for head in heads]


class _LinearLoss(torch.autograd.Function):
    """Hands on losses that were computed from `hidden @ weight.T + bias`, with `slope`, their derivatives by it."""

    # Not with a setup_context of its own: torch then binds the arguments by inspection, at 20 to 60 us a call.
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, loss_sum: Tensor, slope: Tensor, sizes: list[int]
    ) -> Tensor:
        wants_input, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        if wants_input or wants_weight or wants_bias:
            ctx.save_for_backward(hidden if wants_weight else None, weight if wants_input else None, slope)
        ctx.like = hidden.new_empty(0)
        ctx.sizes = sizes
        return loss_sum.detach()

    @staticmethod
    def backward(ctx: Any, grad_loss_sum: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, slope = ctx.saved_tensors
        gradients = _gradients(ctx, grad_loss_sum, hidden, weight, slope)
        if torch.is_grad_enabled():
            gradients = differentiable_once("multi_head_loss", gradients, (grad_loss_sum, hidden, weight))
        return *gradients, None, None, None


def _gradients(
    ctx: Any, grad_loss_sum: Tensor, hidden: Tensor | None, weight: Tensor | None, slope: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of hidden, weight and bias; `hidden` and `weight` are None where the other needs no gradient."""
    grad = torch.ops.jenga.multi_head_loss_backward(grad_loss_sum, slope, ctx.sizes, ctx.like)
    wants_bias = ctx.needs_input_grad[2]
    dhidden = dweight = None
    if is_skinny(grad, grad.shape[1]):
        return skinny_linear_gradients(grad, hidden, weight, wants_bias)
    if weight is not None:
        dhidden = grad @ weight
    if hidden is not None:
        dweight = grad.t() @ hidden
    return dhidden, dweight, grad.sum(0) if wants_bias else None


def _check_sizes(sizes: list[int]) -> None:
    """Raises ValueError for what the compiled op refuses too: sums of other sizes need not fit 64 bits."""
    for head, size in enumerate(sizes):
        if not 1 <= size < 2**31:
            raise ValueError(f"heads[{head}].size: got {size}; allowed: 1 to {2**31 - 1}")


def _fake_forward(
    logits: Tensor,
    targets: list[Tensor],
    kinds: list[int],
    sizes: list[int],
    label_weights: list[Tensor],
    weighted: list[int],
    parameters: list[float],
    rows: Tensor | None,
    tasks: list[int],
    with_slope: bool,
) -> tuple[Tensor, ...]:
    _check_sizes(sizes)
    n_rows, n_columns = logits.shape
    acc_dtype = accumulate_dtype(logits.dtype)
    width = {kind: sum(size for each, size in zip(kinds, sizes, strict=True) if KINDS[each] == kind) for kind in KINDS}
    n_classes = sum(KINDS[kind] in CLASS_KINDS for kind in kinds)
    return (
        logits.new_empty((len(sizes),), dtype=acc_dtype),
        logits.new_empty((len(sizes),), dtype=torch.float32),
        logits.new_empty((n_rows, n_columns) if with_slope else (0, 0), dtype=acc_dtype),
        logits.new_empty((n_classes, n_rows), dtype=torch.int64),
        logits.new_empty((n_rows, width["bce"]), dtype=torch.bool),
        logits.new_empty((n_rows, width["mse"])),
    )


def _fake_backward(grad_loss_sum: Tensor, slope: Tensor, sizes: list[int], like: Tensor) -> Tensor:
    _check_sizes(sizes)
    return slope.new_empty(slope.shape, dtype=like.dtype)


if CPU.implementation == "native":
    # Gradients are those of `_LinearLoss`.
    _LIBRARY = register_without_autograd(
        {"multi_head_loss": _fake_forward, "multi_head_loss_backward": _fake_backward},
        subject="multi_head_loss", rows="hidden",
    )  # fmt: skip
