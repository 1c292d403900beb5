"""`jenga::lora_linear` and its backward for CUDA: Triton kernels for the small products, cuBLAS for the base's.

Nothing waits for the device but the first call of a shape, which is timed (triton_tiles.py, triton_gemm.py) and copies
the scales of its ranks (ranks.py): make it before a CUDA graph is captured. Float64 is plain PyTorch (dense.py).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .arguments import LoraArguments, WantedGradients
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
    arguments: LoraArguments, biases: Sequence[Tensor | None], *, provider: Provider = "auto"
) -> tuple[list[Tensor], Tensor]:
    """Outputs (M, N_i) and S = drop(x) A^T, float32 (M, R), unscaled. biases: one a layer.

    Weights of another dtype than x's, as under autocast, are cast at each call.
    """
    x = arguments.x
    if x.dtype == torch.float64:
        return dense_forward(arguments, biases)
    if not arguments.lora_as:
        plain = [_linear(x, weight, bias) for weight, bias in zip(arguments.weights, biases, strict=True)]
        return plain, x.new_empty((x.shape[0], 0), dtype=torch.float32)
    x = _dense_rows(x)
    ranks = _ranks(arguments)
    stacked_a = ranks.stacked_a(arguments.lora_as, x.dtype)
    projected = project(x, stacked_a, _dropout(arguments), _routing(arguments, ranks))
    outputs = []
    for layer, (first, count) in enumerate(ranks.of_layer):
        weight, bias = arguments.weights[layer].to(x.dtype), biases[layer]
        if not count:
            outputs.append(_linear(x, weight, bias))
            continue
        b = ranks.stacked_b(layer, arguments.lora_bs, arguments.projections, x.dtype)
        own = slice(first, first + count)
        outputs.append(_output(x, weight, bias, projected[:, own], b, ranks.scales[own], provider))
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
    arguments: LoraArguments, grads: Sequence[Tensor], projected: Tensor, wanted: WantedGradients
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The gradients of x, of lora_as and of lora_bs; those that are not wanted have no dimension, or are no list."""
    x = arguments.x
    if x.dtype == torch.float64:
        return dense_backward(arguments, grads, projected, wanted)
    if not arguments.lora_as:
        return _base_gradient(x.new_zeros(x.shape), grads, arguments.weights) if wanted.x else x.new_empty(0), [], []
    x, grads = _dense_rows(x), [_dense_rows(grad) for grad in grads]
    ranks, dropout = _ranks(arguments), _dropout(arguments)
    projected = projected if ranks.of_layers is None else projected[:, ranks.of_layers]
    dranks, dbs = _through_outputs(arguments, grads, projected, ranks, wanted)
    das: list[Tensor] = []
    if wanted.a:
        das = _in_call_order(ranks, a_gradient(x, dranks, dropout), arguments.lora_as)
    if not wanted.x:
        return x.new_empty(0), das, dbs
    dx = expand(dranks, ranks.stacked_a(arguments.lora_as, x.dtype), scales=None, bias=None, dropout=dropout)
    return _base_gradient(dx, grads, arguments.weights), das, dbs


def _base_gradient(dx: Tensor, grads: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    for grad, weight in zip(grads, weights, strict=True):
        dx.addmm_(grad, weight.to(dx.dtype))
    return dx


def _through_outputs(
    arguments: LoraArguments, grads: Sequence[Tensor], projected: Tensor, ranks: Ranks, wanted: WantedGradients
) -> tuple[Tensor, list[Tensor]]:
    """dS, float32 (M, R), and the gradients of lora_bs, from one pass over each dY."""
    lora_bs, projections, routing = arguments.lora_bs, arguments.projections, _routing(arguments, ranks)
    parts = max(output_parts(grad, count) for grad, (_, count) in zip(grads, ranks.of_layer, strict=True))
    dranks = projected.new_empty((parts, *projected.shape)) if wanted.x or wanted.a else None
    dbs: dict[int, Tensor] = {}
    for layer, (grad, (first, count)) in enumerate(zip(grads, ranks.of_layer, strict=True)):
        if not count:
            continue
        own = slice(first, first + count)
        db = output_gradient(
            grad, ranks.stacked_b(layer, lora_bs, projections, grad.dtype), projected[:, own], ranks.scales[own],
            routing=None if routing is None else Routing(routing.rows, routing.adapters[own]),
            dranks=None if dranks is None else dranks[:, :, own], wants_b=wanted.b,
        )  # fmt: skip
        if db is not None:
            of_layer = [part for part in ranks.parts if projections[part] == layer]
            dbs.update(zip(of_layer, split_parts(db, [lora_bs[part] for part in of_layer], 1), strict=True))
    return (projected if dranks is None else sum_of_parts(dranks)), [dbs[part] for part in sorted(dbs)]


def _in_call_order(ranks: Ranks, da: Tensor, lora_as: Sequence[Tensor]) -> list[Tensor]:
    of_part = dict(zip(ranks.parts, split_parts(da, [lora_as[part] for part in ranks.parts], 0), strict=True))
    return [of_part[part] for part in sorted(of_part)]


def _ranks(arguments: LoraArguments) -> Ranks:
    keep = 1 - dropout_threshold(arguments.dropout) / 65536
    return ranks_of(
        [lora_a.shape[0] for lora_a in arguments.lora_as], [scale / keep for scale in arguments.scales],
        arguments.projections, arguments.adapters,
        n_layers=len(arguments.weights), device=arguments.x.device,
    )  # fmt: skip


def _dense_rows(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous()


def _dropout(arguments: LoraArguments) -> Dropout | None:
    if not arguments.dropout:
        return None
    assert arguments.seed is not None
    return Dropout(dropout_threshold(arguments.dropout), arguments.seed)


def _routing(arguments: LoraArguments, ranks: Ranks) -> Routing | None:
    return None if arguments.rows is None else Routing(arguments.rows.contiguous(), ranks.adapters)
