"""`jenga::lora_linear` and its backward for CUDA: Triton kernels for the small products, cuBLAS for the base's.

Nothing waits for the device but the first call of a shape, which is timed (triton_tiles.py, triton_gemm.py) and copies
the scales of its ranks (ranks.py): make it before a CUDA graph is captured. Float64 is plain PyTorch (dense.py).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .dense import dense_backward, dense_forward
from .ranks import Ranks, ranks_of, split_parts
from .reference import dropout_threshold
from .triton_backward import a_gradient, output_gradient, output_parts
from .triton_gemm import Provider, choose, fused_forward
from .triton_kernel import expand, project
from .triton_tiles import Dropout, Routing, sum_of_parts


# Without autograd.Function above (an exported program has none), grad mode may be on: nothing here is to be recorded.
@torch.no_grad()
def lora_linear_forward(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    biased: Sequence[int],
    lora_as: Sequence[Tensor],
    lora_bs: Sequence[Tensor],
    scales: Sequence[float],
    projections: Sequence[int],
    adapters: Sequence[int],
    rows: Tensor | None,
    dropout: float,
    seed: Tensor | None,
    *,
    provider: Provider = "auto",
) -> tuple[list[Tensor], Tensor]:
    """Outputs (M, N_i) and S = drop(x) A^T, float32 (M, R), unscaled; csrc/ops.cpp has the arguments.

    Weights of another dtype than x's, as under autocast, are cast at each call.
    """
    all_biases: list[Tensor | None] = [None] * len(weights)
    for place, bias in zip(biased, biases, strict=True):
        all_biases[place] = bias
    if x.dtype == torch.float64:
        return dense_forward(
            x, weights, all_biases, lora_as, lora_bs, scales, projections, adapters, rows, dropout, seed
        )  # fmt: skip
    if not lora_as:
        plain = [_linear(x, weight, bias) for weight, bias in zip(weights, all_biases, strict=True)]
        return plain, x.new_empty((x.shape[0], 0), dtype=torch.float32)
    x = _dense_rows(x)
    ranks = _ranks(x, weights, lora_as, scales, projections, adapters, dropout)
    projected = project(x, ranks.stacked_a(lora_as, x.dtype), _dropout(dropout, seed), _routing(rows, ranks))
    outputs = []
    for layer, (first, count) in enumerate(ranks.of_layer):
        weight, addend = weights[layer].to(x.dtype), all_biases[layer]
        if not count:
            outputs.append(_linear(x, weight, addend))
            continue
        b = ranks.stacked_b(layer, lora_bs, projections, x.dtype)
        own = slice(first, first + count)
        outputs.append(_output(x, weight, addend, projected[:, own], b, ranks.scales[own], provider))
    return outputs, projected if ranks.of_call is None else projected[:, ranks.of_call]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def _output(
    x: Tensor, weight: Tensor, bias: Tensor | None, ranks: Tensor, b: Tensor, scales: Tensor, provider: Provider
) -> Tensor:
    def small_then_base() -> Tensor:
        small = expand(ranks, b.t(), scales=scales, bias=bias, dropout=None)
        return small.addmm_(x, weight.t())

    def in_one() -> Tensor:
        return fused_forward(x, weight, bias, ranks, b, scales)

    return choose(provider, x, weight, b.shape[1], {"addmm": small_then_base, "fused": in_one})


@torch.no_grad()
def lora_linear_backward(
    grads: Sequence[Tensor],
    x: Tensor,
    projected: Tensor,
    weights: Sequence[Tensor],
    lora_as: Sequence[Tensor],
    lora_bs: Sequence[Tensor],
    scales: Sequence[float],
    projections: Sequence[int],
    adapters: Sequence[int],
    rows: Tensor | None,
    dropout: float,
    seed: Tensor | None,
    wants_x: bool,
    wants_a: bool,
    wants_b: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The gradients of x, of lora_as and of lora_bs; those that are not wanted have no dimension, or are no list."""
    if x.dtype == torch.float64:
        return dense_backward(
            grads, x, projected, weights, lora_as, lora_bs, scales, projections, adapters, rows, dropout, seed,
            wants_x, wants_a, wants_b,
        )  # fmt: skip
    if not lora_as:
        return _base_gradient(x.new_zeros(x.shape), grads, weights) if wants_x else x.new_empty(0), [], []
    x, grads = _dense_rows(x), [_dense_rows(grad) for grad in grads]
    ranks = _ranks(x, weights, lora_as, scales, projections, adapters, dropout)
    dropped = _dropout(dropout, seed)
    projected = projected if ranks.of_layers is None else projected[:, ranks.of_layers]
    dranks, dbs = _through_outputs(
        grads, projected, ranks, lora_bs, projections, _routing(rows, ranks), wants_x or wants_a, wants_b
    )  # fmt: skip
    das: list[Tensor] = []
    if wants_a:
        das = _in_call_order(ranks, a_gradient(x, dranks, dropped), lora_as)
    if not wants_x:
        return x.new_empty(0), das, dbs
    dx = expand(dranks, ranks.stacked_a(lora_as, x.dtype), scales=None, bias=None, dropout=dropped)
    return _base_gradient(dx, grads, weights), das, dbs


def _base_gradient(dx: Tensor, grads: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    for grad, weight in zip(grads, weights, strict=True):
        dx.addmm_(grad, weight.to(dx.dtype))
    return dx


def _through_outputs(
    grads: Sequence[Tensor],
    projected: Tensor,
    ranks: Ranks,
    lora_bs: Sequence[Tensor],
    projections: Sequence[int],
    routing: Routing | None,
    wants_dranks: bool,
    wants_b: bool,
) -> tuple[Tensor, list[Tensor]]:
    """dS, float32 (M, R), and the gradients of lora_bs, from one pass over each dY."""
    parts = max(output_parts(grad, count) for grad, (_, count) in zip(grads, ranks.of_layer, strict=True))
    dranks = projected.new_empty((parts, *projected.shape)) if wants_dranks else None
    dbs: dict[int, Tensor] = {}
    for layer, (grad, (first, count)) in enumerate(zip(grads, ranks.of_layer, strict=True)):
        if not count:
            continue
        own = slice(first, first + count)
        db = output_gradient(
            grad, ranks.stacked_b(layer, lora_bs, projections, grad.dtype), projected[:, own], ranks.scales[own],
            routing=None if routing is None else Routing(routing.rows, routing.adapters[own]),
            dranks=None if dranks is None else dranks[:, :, own], wants_b=wants_b,
        )  # fmt: skip
        if db is not None:
            of_layer = [part for part in ranks.parts if projections[part] == layer]
            dbs.update(zip(of_layer, split_parts(db, [lora_bs[part] for part in of_layer], 1), strict=True))
    return (projected if dranks is None else sum_of_parts(dranks)), [dbs[part] for part in sorted(dbs)]


def _in_call_order(ranks: Ranks, da: Tensor, lora_as: Sequence[Tensor]) -> list[Tensor]:
    of_part = dict(zip(ranks.parts, split_parts(da, [lora_as[part] for part in ranks.parts], 0), strict=True))
    return [of_part[part] for part in sorted(of_part)]


def _ranks(
    x: Tensor,
    weights: Sequence[Tensor],
    lora_as: Sequence[Tensor],
    scales: Sequence[float],
    projections: Sequence[int],
    adapters: Sequence[int],
    dropout: float,
) -> Ranks:
    keep = 1 - dropout_threshold(dropout) / 65536
    return ranks_of(
        [lora_a.shape[0] for lora_a in lora_as], [scale / keep for scale in scales], projections, adapters,
        n_layers=len(weights), device=x.device,
    )  # fmt: skip


def _dense_rows(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous()


def _dropout(dropout: float, seed: Tensor | None) -> Dropout | None:
    if not dropout:
        return None
    assert seed is not None
    return Dropout(dropout_threshold(dropout), seed)


def _routing(rows: Tensor | None, ranks: Ranks) -> Routing | None:
    return None if rows is None else Routing(rows.contiguous(), ranks.adapters)
