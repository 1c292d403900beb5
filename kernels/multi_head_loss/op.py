"""`multi_head_loss`: the public function, its autograd, and the fake implementations that torch.compile traces.

The GEMM stays an ordinary `F.linear`, so autocast, needs_input_grad and torch.compile treat it as they treat any
linear layer; only the losses over the logits are ours.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._native import CPU, backend
from .reference import check_arguments, multi_head_loss_reference
from .spec import KINDS, HeadSpec, MultiHeadLoss


def multi_head_loss(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Sequence[Tensor], *, heads: Sequence[HeadSpec]
) -> MultiHeadLoss:
    """Losses and predictions of N heads that read one hidden state, through one GEMM and one pass over the logits.

    Head i reads columns `[offset_i, offset_i + K_i)` of `logits = hidden @ weight.T + bias`. Its loss is summed over
    its unmasked labels, computed in float32 (float64 for float64 logits), and each term equals that of
    `F.cross_entropy`, `F.binary_cross_entropy_with_logits` or `F.mse_loss` with `reduction="sum"`. Where every label
    of a head is masked, its loss and its gradient are exactly 0 (PyTorch's mean gives NaN). Sums are added in a fixed
    order, so a result does not depend on the number of threads.

    Args:
        hidden: (M, H) floating. Under autocast, `hidden` and `weight` are cast as for any linear layer.
        weight: (sum K, H), the heads' weights stacked in the order of `heads`.
        bias: (sum K,) or None.
        targets: one tensor a head. ce: int64 (M,), -100 where masked. bce, mse: floating (M, K), NaN where masked.
        heads: N heads, at least 1.

    Returns:
        `MultiHeadLoss(loss_sum (N,), count (N,), predictions)`; only `loss_sum` is differentiable, and only once.

    Raises:
        ValueError: targets, weight and heads disagree in number, shape or dtype, or a label is out of range; the
            message names head, row, label and the allowed range. On CUDA an out-of-range label fails a device-side
            assertion instead, since a check on the host would wait for the device.
    """
    check_arguments(weight, targets, heads)
    if backend(hidden.device.type).implementation == "reference":
        return multi_head_loss_reference(hidden, weight, bias, targets, heads=heads)
    logits = F.linear(hidden, weight, bias)
    loss_sum, count, *predictions = _SegmentLoss.apply(
        logits,
        [KINDS.index(head.kind) for head in heads],
        [head.size for head in heads],
        [head.label_smoothing for head in heads],
        *targets,
        *[head.label_weight for head in heads],
    )
    return MultiHeadLoss(loss_sum, count, predictions)


class _SegmentLoss(torch.autograd.Function):
    """The losses over ready logits. Targets and label weights come one by one: autograd looks into no lists."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        kinds: list[int],
        sizes: list[int],
        label_smoothing: list[float],
        *targets_and_weights: Tensor | None,
    ) -> tuple[Tensor, ...]:
        n_heads = len(sizes)
        targets, weights = targets_and_weights[:n_heads], targets_and_weights[n_heads:]
        loss_sum, count, predictions = torch.ops.jenga.multi_head_loss(
            logits, targets, kinds, sizes, weights, label_smoothing
        )
        ctx.save_for_backward(logits, *targets_and_weights)
        ctx.kinds, ctx.sizes, ctx.label_smoothing = kinds, sizes, label_smoothing
        ctx.mark_non_differentiable(count, *predictions)
        ctx.set_materialize_grads(False)
        return loss_sum, count, *predictions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss_sum: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        logits, *targets_and_weights = ctx.saved_tensors
        n_heads = len(ctx.sizes)
        targets, weights = targets_and_weights[:n_heads], targets_and_weights[n_heads:]
        if grad_loss_sum is None or not ctx.needs_input_grad[0]:
            return (None,) * (4 + 2 * n_heads)
        grad_logits = torch.ops.jenga.multi_head_loss_backward(
            grad_loss_sum, logits, targets, ctx.kinds, ctx.sizes, weights, ctx.label_smoothing
        )
        return (grad_logits, *(None,) * (3 + 2 * n_heads))


def _fake_forward(
    logits: Tensor,
    targets: list[Tensor],
    kinds: list[int],
    sizes: list[int],
    label_weights: list[Tensor | None],
    label_smoothing: list[float],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    n_heads, n_rows = len(sizes), logits.shape[0]
    acc_dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    prediction_dtypes = {"ce": torch.int64, "bce": torch.bool, "mse": logits.dtype}
    predictions = [
        logits.new_empty((n_rows,) if KINDS[kind] == "ce" else (n_rows, size), dtype=prediction_dtypes[KINDS[kind]])
        for kind, size in zip(kinds, sizes, strict=True)
    ]
    return (
        logits.new_empty((n_heads,), dtype=acc_dtype),
        logits.new_empty((n_heads,), dtype=torch.float32),
        predictions,
    )


def _fake_backward(
    grad_loss_sum: Tensor,
    logits: Tensor,
    targets: list[Tensor],
    kinds: list[int],
    sizes: list[int],
    label_weights: list[Tensor | None],
    label_smoothing: list[float],
) -> Tensor:
    return logits.new_empty(logits.shape)


if CPU.implementation == "native":
    torch.library.register_fake("jenga::multi_head_loss", _fake_forward)
    torch.library.register_fake("jenga::multi_head_loss_backward", _fake_backward)
