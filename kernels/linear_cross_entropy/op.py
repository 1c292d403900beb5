"""`linear_cross_entropy`: the public function, its autograd, the op that holds the chunk loop, and its fake.

The op computes loss and gradients in one go, and to torch.compile it is a single call: nothing of a chunk's size or
number is traced, so other batch sizes need no other code.
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .._native import CPU
from ..autocast import as_autocast
from ..dtypes import accumulate_dtype
from ..vocabulary.checks import check_head, check_labels, check_op, check_options, is_capturing
from ..vocabulary.chunked_linear import ChunkedLinear, gradient_dtype
from ..vocabulary.chunks import VocabularyLoss, auto_chunk_rows, loss_over_chunks
from ..vocabulary.saved_gradients import save_gradients, scaled_gradients, wanted_gradients
from .chunk_losses import cross_entropy_of_chunk
from .reference import linear_cross_entropy_reference


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
    chunk_size: int | Literal["auto"] = "auto",
) -> Tensor:
    """Cross-entropy of `hidden @ weight.T + bias` against labels, without ever holding the (M, V) logits.

    Equal to `F.cross_entropy(F.linear(hidden, weight, bias), targets, ...)`, a chunk of rows at a time. Where a
    gradient is wanted it is computed in the same pass, so no logits are computed twice; sums over chunks are float32
    (float64 for float64). A mean over no labels is 0 and so is its gradient (PyTorch: NaN).

    Memory beyond the gradients: one chunk of logits; for a half-precision weight, its gradient in float32 too, which
    for float16 stays until the backward pass, since it would underflow before a loss scale multiplies it. Under
    torch.compile, one more gradient while it is scaled.

    Args:
        hidden: (M, H) floating; for (B, T, H), `hidden.flatten(0, 1)`. weight: (V, H) and bias: (V,) or None, in the
            same dtype. Under autocast they are cast as for any linear layer.
        targets: int64 (M,), `ignore_index` where a row has no label. The caller shifts tokens.
        label_smoothing: in [0, 1], as in `F.cross_entropy` (Szegedy et al. 2016, section 7).
        reduction: "mean" over the rows that have a label, or "sum".
        chunk_size: rows of logits to hold at a time.

    Returns:
        () float32, float64 for float64 inputs. Differentiable once (gradients that are differentiated again raise
        RuntimeError); a second backward pass through one graph (`retain_graph=True`) computes everything again.

    Raises:
        ValueError: shapes, dtypes, devices or options disagree, or a label is out of range; the message names row and
            value. On CUDA labels are checked once a call, after the work is queued, which waits for the device; while a
            CUDA graph is captured nothing can be checked, and such a row makes the loss NaN.
        NotImplementedError: under torch.func.vmap.
    """
    check_options(label_smoothing=label_smoothing, reduction=reduction, chunk_size=chunk_size)
    check_head("hidden", hidden, "weight", weight, targets, bias)
    if CPU.implementation == "reference" or hidden.device.type not in ("cpu", "cuda", "meta"):
        return linear_cross_entropy_reference(
            hidden, weight, targets,
            bias=bias, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction,
        )  # fmt: skip
    hidden, weight, bias = as_autocast(hidden, weight, bias)
    chunk_rows = 0 if chunk_size == "auto" else chunk_size
    wanted = wanted_gradients(hidden, weight, bias)
    options = _Options(ignore_index, label_smoothing, reduction == "mean", chunk_rows, wanted)
    outputs: tuple[Tensor, ...] = _LinearCrossEntropy.apply(hidden, weight, bias, targets, options)
    return outputs[0]


class _Options(NamedTuple):
    """The arguments of the op that are no tensors, in its order."""

    ignore_index: int
    label_smoothing: float
    mean: bool
    chunk_rows: int
    wanted: list[bool]


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and gradients from one op; the gradients wait, as outputs that nobody sees, for the backward pass."""

    @staticmethod
    def forward(
        hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: _Options
    ) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = torch.ops.jenga.linear_cross_entropy(hidden, weight, bias, targets, *options)
        return outputs

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.options = inputs
        _, *gradients = output
        ctx.mark_non_differentiable(*gradients)
        ctx.set_materialize_grads(False)
        save_gradients(ctx, tuple(gradients), tensors)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        options = ctx.options
        if grad_loss is None:
            return (None,) * 5

        def recompute(*inputs: Tensor) -> tuple[Tensor, ...]:
            _, *gradients = torch.ops.jenga.linear_cross_entropy(*inputs, *options)
            return tuple(gradients)

        return *scaled_gradients("linear_cross_entropy", ctx, grad_loss, options.wanted, recompute), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        raise NotImplementedError(
            "linear_cross_entropy: torch.func.vmap is not supported, since the rows are taken in chunks already. "
            "Flatten the mapped dimension into the rows (hidden.flatten(0, 1)), or loop over it"
        )


# Called without the autograd.Function above (an exported program does), grad mode may be on, which mm(out=) refuses.
@torch.no_grad()
def _forward(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *arguments: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    options = _Options(*arguments)
    check_options(label_smoothing=options.label_smoothing, reduction="mean")
    check_head("hidden", hidden, "weight", weight, targets, bias)
    check_op(options.chunk_rows, options.wanted, 3)
    if hidden.device.type == "cpu":
        check_labels(targets, weight.shape[0], options.ignore_index)

    def loss_of_chunk(rows: slice, logits: Tensor, loss: VocabularyLoss) -> Tensor:
        return cross_entropy_of_chunk(logits, targets[rows], loss, options.label_smoothing)

    results = loss_over_chunks(
        ChunkedLinear(hidden, weight, bias, options.wanted), targets, loss_of_chunk,
        ignore_index=options.ignore_index, mean=options.mean,
        chunk_rows=options.chunk_rows or auto_chunk_rows(hidden.shape[1]),
    )  # fmt: skip
    if hidden.device.type != "cpu" and not is_capturing(hidden):
        check_labels(targets, weight.shape[0], options.ignore_index)
    return results


def _fake_forward(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *arguments: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shapes = (hidden.shape, weight.shape, weight.shape[:1])
    dhidden, dweight, dbias = (
        hidden.new_empty(shape if want else (0,), dtype=gradient_dtype(hidden.dtype))
        for shape, want in zip(shapes, _Options(*arguments).wanted, strict=True)
    )
    return hidden.new_empty((), dtype=accumulate_dtype(hidden.dtype)), dhidden, dweight, dbias


def _fake_chunk(logits: Tensor, targets: Tensor, *_: Any) -> Tensor:
    return logits.new_empty(targets.shape)


if CPU.implementation == "native":
    torch.library.impl("jenga::linear_cross_entropy", ("cpu", "cuda"), _forward)
    torch.library.register_fake("jenga::linear_cross_entropy", _fake_forward)
    torch.library.register_fake("jenga::vocabulary_cross_entropy_", _fake_chunk)
