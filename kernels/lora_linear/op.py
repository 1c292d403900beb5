"""`lora_linear`: the public functions, their autograd, and the fake implementations that torch.compile traces."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from .._native import CPU, triton_backend
from ..autocast import autocast_is_on
from ..linear_cross_entropy.chunk_losses import check_triton
from ..once import differentiable_once
from .checks import check_call, check_devices, check_group, check_op, check_op_gradients, check_quickly
from .parts import FrozenWeight, Update
from .reference import lora_linear_reference


def lora_linear(
    x: Tensor,
    weight: Tensor | FrozenWeight,
    bias: Tensor | None,
    lora_a: Tensor,
    lora_b: Tensor,
    *,
    scale: float,
    dropout: float = 0.0,
    seed: int | Tensor | None = None,
) -> Tensor:
    """A linear layer with a low-rank update: x W^T + b + scale * (drop(x) A^T) B^T (Hu et al. 2021, equation 3).

    Neither drop(x), nor a mask, nor the update's (..., N) output is ever held: the small product goes into the result,
    to which the base GEMM adds. Backward keeps x, the (M, R) projection and the seed.

    Args:
        x: (..., K) float32, float64, bfloat16 or float16.
        weight: (N, K), usually frozen, in the dtype of x; may be a transposed view. Or a function that gives it, for
            a base that is kept quantised: it is called once a pass, and gets no gradient.
        bias: (N,) or None.
        lora_a: (R, K). lora_b: (N, R). Any floating dtype; sums are float32 (float64 for float64).
        dropout: probability in [0, 1) that an element of x is dropped before A; a multiple of 2^-16.
        seed: int64, what the dropped elements follow from; None: drawn from torch's generator.

    Returns:
        (..., N) in the dtype of x; under autocast in autocast's. Differentiable once, by x, weight, bias and adapters
        (again too with fewer than `FEW_ROWS` rows, which torch's own products compute).

    Raises:
        ValueError: shapes, dtypes, devices or options disagree.
        NotImplementedError: under transforms of torch.func, and for derivatives in forward mode.
    """
    return lora_linear_updates(x, [weight], [bias], [Update(lora_a, lora_b, scale)], dropout=dropout, seed=seed)[0]


def lora_linear_grouped(
    x: Tensor,
    weights: Sequence[Tensor | FrozenWeight],
    biases: Sequence[Tensor | None],
    lora_as: Sequence[Tensor],
    lora_bs: Sequence[Tensor],
    *,
    scales: Sequence[float],
    dropout: float = 0.0,
    seed: int | Tensor | None = None,
) -> list[Tensor]:
    """Several `lora_linear` of one x, such as query, key and value: x is read once, and its gradient made in one piece.

    The layers see the same dropped x. One weight, bias, A, B and scale a layer; see `lora_linear`.
    """
    if not len(weights) == len(biases) == len(lora_as) == len(lora_bs) == len(scales):
        check_group(weights=weights, biases=biases, lora_as=lora_as, lora_bs=lora_bs, scales=scales)
    parts = zip(lora_as, lora_bs, scales, strict=True)
    updates = [Update(a, b, scale, projection) for projection, (a, b, scale) in enumerate(parts)]
    return lora_linear_updates(x, weights, biases, updates, dropout=dropout, seed=seed)


def lora_linear_updates(
    x: Tensor,
    weights: Sequence[Tensor | FrozenWeight],
    biases: Sequence[Tensor | None],
    updates: Sequence[Update],
    *,
    rows: Tensor | None = None,
    dropout: float = 0.0,
    seed: int | Tensor | None = None,
) -> list[Tensor]:
    """Linear layers of one x with any number of updates: several adapters at once, or in `rows` one for each row.

    Args:
        updates: each names its layer by `projection`; those of a layer add up.
        rows: int64, the shape of x without its last dimension: which `Update.adapter` a row sees, -1 for none. Rows of
            one adapter that lie together are computed together.

    See `lora_linear` for the rest.
    """
    device_type = x.device.type
    # The C++ op checks by itself; in a step of few rows the same in Python would take as long as the products.
    if not (device_type == "cpu" and CPU.implementation == "native") or torch.compiler.is_compiling():
        check_call(x, weights, biases, updates, rows, dropout, seed)
        return _updates(x, weights, biases, updates, rows, dropout, seed)
    try:
        check_quickly(x, weights, biases, updates, rows, seed)
        if not dropout and rows is None and len(updates) == len(weights) == 1:
            (weight,), (bias,), (update,) = weights, biases, updates
            if _has_few_rows(x, weight, bias, update):
                return [_linear_of_few_rows(x, weight, bias, update)]  # type: ignore[arg-type]
        return _updates(x, weights, biases, updates, rows, dropout, seed)
    except (IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        # What is wrong, in the words of this function rather than of the op or of torch.
        check_call(x, weights, biases, updates, rows, dropout, seed)
        raise


FEW_ROWS = 16
"""Rows below which a pass through Python costs more than it saves: there torch's own products are taken, one by one."""


def _has_few_rows(x: Tensor, weight: Tensor | FrozenWeight, bias: Tensor | None, update: Update) -> bool:
    """Whether torch's own products are taken. What they would not refuse is left to the checks of the op."""
    return (
        isinstance(weight, Tensor)
        and x.numel() < FEW_ROWS * x.shape[-1]
        and x.dim() > 1
        and weight.dim() == 2
        and x.layout == weight.layout == torch.strided
        and x.dtype in (torch.float32, torch.float64)
        and x.dtype == weight.dtype == update.lora_a.dtype == update.lora_b.dtype
        and update.lora_b.shape == (weight.shape[0], update.lora_a.shape[0])
        and update.lora_a.shape[0] > 0
        and (bias is None or (bias.shape == weight.shape[:1] and bias.dtype == x.dtype and bias.is_cpu))
        and weight.is_cpu
        and update.lora_a.is_cpu
        and update.lora_b.is_cpu
        and update.projection == 0
        and update.adapter >= 0
        and not autocast_is_on("cpu")
    )


def _linear_of_few_rows(x: Tensor, weight: Tensor, bias: Tensor | None, update: Update) -> Tensor:
    flat = x if x.dim() == 2 else x.flatten(0, -2)
    base, projected = F.linear(flat, weight, bias), F.linear(flat, update.lora_a)
    output = torch.addmm(base, projected, update.lora_b.t(), alpha=update.scale)
    return output if x.dim() == 2 else output.reshape(*x.shape[:-1], output.shape[-1])


def _updates(
    x: Tensor,
    weights: Sequence[Tensor | FrozenWeight],
    biases: Sequence[Tensor | None],
    updates: Sequence[Update],
    rows: Tensor | None,
    dropout: float,
    seed: int | Tensor | None,
) -> list[Tensor]:
    x, biases = _as_autocast(x, biases)
    # Not reshape(-1, K), which knows no number of rows where K is 0.
    flat = x if x.dim() == 2 else x.flatten(0, -2) if x.dim() > 2 else x[None]
    if rows is not None and rows.shape != x.shape[:-1]:
        raise ValueError("rows")
    flat_rows = None if rows is None else rows.reshape(-1)
    seed_tensor = _seed(x, seed) if dropout else None
    if triton_backend(x.device.type).implementation == "reference":
        dense = [weight if isinstance(weight, Tensor) else weight() for weight in weights]
        dense = [weight.to(x.dtype) if autocast_is_on(x.device.type) else weight for weight in dense]
        outputs = lora_linear_reference(
            flat, dense, biases, updates, rows=flat_rows, dropout=dropout, seed=seed_tensor
        )  # fmt: skip
    else:
        plan = _Plan(
            [place for place, bias in enumerate(biases) if bias is not None],
            [update.scale for update in updates],
            [update.projection for update in updates],
            [update.adapter for update in updates],
            dropout,
            [None if isinstance(weight, Tensor) else weight for weight in weights],
            len(updates),
        )
        tensors = [
            *[weight if isinstance(weight, Tensor) else None for weight in weights],
            *[bias for bias in biases if bias is not None],
            *[update.lora_a for update in updates],
            *[update.lora_b for update in updates],
        ]
        # Without a wanted gradient too: there it refuses forward-mode derivatives, which would come out as 0.
        if torch.is_grad_enabled() or _in_forward_mode():
            outputs = list(_LoraLinear.apply(plan, flat_rows, seed_tensor, flat, *tensors))
        else:
            outputs = _run(plan, flat_rows, seed_tensor, flat, tensors)[0]
    return outputs if x.dim() == 2 else [output.reshape(*x.shape[:-1], output.shape[-1]) for output in outputs]


def _in_forward_mode() -> bool:
    """Whether forward-mode derivatives may be wanted, which no_grad does not switch off."""
    return not torch.compiler.is_compiling() and forward_ad._current_level >= 0


def _as_autocast(x: Tensor, biases: Sequence[Tensor | None]) -> tuple[Tensor, Sequence[Tensor | None]]:
    """Cast x as autocast does; weights and adapters stay as they are, and are rounded less."""
    if not autocast_is_on(x.device.type) or x.dtype == torch.float64:
        return x, biases
    return x.to(torch.get_autocast_dtype(x.device.type)), biases


def _seed(x: Tensor, seed: int | Tensor | None) -> Tensor:
    if isinstance(seed, Tensor):
        return seed
    if seed is not None:
        if not isinstance(seed, int):
            raise TypeError("seed")
        return torch.tensor(seed, dtype=torch.int64, device=x.device)
    # Not random_(), which torch.compile cannot trace.
    return torch.randint(2**63 - 1, (), device=x.device)


class _Plan(NamedTuple):
    """What a call is besides its tensors; `frozen` gives the weights that are no tensors."""

    biased: list[int]
    scales: list[float]
    projections: list[int]
    adapters: list[int]
    dropout: float
    frozen: list[FrozenWeight | None]
    n_updates: int

    def split(self, tensors: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Weights, biases, lora_as and lora_bs."""
        n_weights, n_biases = len(self.frozen), len(self.biased)
        rest = n_weights + n_biases
        return (
            tensors[:n_weights],
            tensors[n_weights:rest],
            tensors[rest : rest + self.n_updates],
            tensors[rest + self.n_updates :],
        )

    def dense(self, weights: Sequence[Tensor | None]) -> Sequence[Tensor]:
        """The weights, those that are no tensors made now."""
        if not any(self.frozen):
            return weights  # type: ignore[return-value]
        made = zip(weights, self.frozen, strict=True)
        return [weight if function is None else function() for weight, function in made]  # type: ignore[misc]


def _run(
    plan: _Plan, rows: Tensor | None, seed: Tensor | None, x: Tensor, tensors: Sequence[Tensor | None]
) -> tuple[list[Tensor], Tensor]:
    weights, biases, lora_as, lora_bs = plan.split(tensors)
    outputs, projected = torch.ops.jenga.lora_linear.default(
        x, plan.dense(weights), biases, plan.biased, lora_as, lora_bs, plan.scales, plan.projections, plan.adapters,
        rows, plan.dropout, seed,
    )  # fmt: skip
    return outputs, projected


class _LoraLinear(torch.autograd.Function):
    # Not with a setup_context of its own: torch then binds the arguments by inspection, at 20 to 60 us a call.
    @staticmethod
    def forward(
        ctx: Any, plan: _Plan, rows: Tensor | None, seed: Tensor | None, x: Tensor, *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        outputs, projected = _run(plan, rows, seed, x, tensors)
        n_biases = len(plan.biased)
        n_weights = len(plan.frozen)
        ctx.plan = plan
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(rows, seed, x, projected, *tensors[:n_weights], *tensors[n_weights + n_biases :])
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *found: Tensor | None) -> tuple[Tensor | None, ...]:
        plan, wanted = ctx.plan, ctx.needs_input_grad
        rows, seed, x, projected, *tensors = ctx.saved_tensors
        n_weights = len(plan.frozen)
        n_parts = plan.n_updates
        weights, adapters = tensors[:n_weights], tensors[n_weights:]
        lora_as, lora_bs = adapters[:n_parts], adapters[n_parts:]
        wants_weights, wants_biases, wants_as, wants_bs = plan.split(wanted[4:])
        dense = plan.dense(weights)
        # What a layer whose output nobody used gets is no gradient, as if it had not been called, and not zeros.
        used = [grad is not None for grad in found]
        grads = [x.new_zeros(len(x), len(w)) if grad is None else grad for grad, w in zip(found, dense, strict=True)]
        dx, das, dbs = torch.ops.jenga.lora_linear_backward.default(
            grads, x, projected, dense, lora_as, lora_bs, plan.scales, plan.projections, plan.adapters,
            rows, plan.dropout, seed, wanted[3], any(wants_as), any(wants_bs),
        )  # fmt: skip
        gradients = (
            dx if wanted[3] else None,
            *(grads[i].t() @ x if want and used[i] else None for i, want in enumerate(wants_weights)),
            *(grads[i].sum(0) if want and used[i] else None for i, want in zip(plan.biased, wants_biases, strict=True)),
            *(each if used[i] else None for each, i in zip(das or [None] * n_parts, plan.projections, strict=True)),
            *(each if used[i] else None for each, i in zip(dbs or [None] * n_parts, plan.projections, strict=True)),
        )
        if torch.is_grad_enabled():
            gradients = differentiable_once("lora_linear", gradients, (*grads, x, *weights, *lora_as, *lora_bs))
        return None, None, None, *gradients


def _fake_forward(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    biased: list[int],
    lora_as: list[Tensor],
    lora_bs: list[Tensor],
    scales: list[float],
    projections: list[int],
    adapters: list[int],
    rows: Tensor | None,
    dropout: float,
    seed: Tensor | None,
) -> tuple[list[Tensor], Tensor]:
    check_devices(x, (*weights, *biases, *lora_as, *lora_bs, rows, seed))
    n_ranks = sum(lora_a.shape[0] for lora_a in lora_as)
    outputs = [x.new_empty((x.shape[0], weight.shape[0])) for weight in weights]
    return outputs, x.new_empty((x.shape[0], n_ranks), dtype=_sum_dtype(x))


def _fake_backward(
    grads: list[Tensor],
    x: Tensor,
    projected: Tensor,
    weights: list[Tensor],
    lora_as: list[Tensor],
    lora_bs: list[Tensor],
    scales: list[float],
    projections: list[int],
    adapters: list[int],
    rows: Tensor | None,
    dropout: float,
    seed: Tensor | None,
    wants_x: bool,
    wants_a: bool,
    wants_b: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    dx = x.new_empty(x.shape if wants_x else 0)
    das = [lora_a.new_empty(lora_a.shape) for lora_a in lora_as] if wants_a else []
    dbs = [lora_b.new_empty(lora_b.shape) for lora_b in lora_bs] if wants_b else []
    return dx, das, dbs


def _sum_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _refuse_vmap(*_: Any) -> Any:
    raise NotImplementedError(
        "lora_linear has no batching rule for torch.func.vmap; fold the mapped dimension into the rows of x, which are "
        "independent"
    )


def _cuda_forward(x: Tensor, *arguments: Any) -> Any:
    check_triton("lora_linear")
    check_op(x, *arguments)
    from .cuda import lora_linear_forward

    # Triton launches on the current device, which may be another.
    with torch.cuda.device_of(x):
        return lora_linear_forward(x, *arguments)


def _cuda_backward(
    grads: list[Tensor],
    x: Tensor,
    projected: Tensor,
    weights: list[Tensor],
    lora_as: list[Tensor],
    *arguments: Any,
) -> Any:
    check_triton("lora_linear")
    check_op(x, weights, [], [], lora_as, *arguments[:-3])
    check_op_gradients(grads, x, projected, weights, lora_as)
    from .cuda import lora_linear_backward

    with torch.cuda.device_of(x):
        return lora_linear_backward(grads, x, projected, weights, lora_as, *arguments)


def _register() -> torch.library.Library:
    library = torch.library.Library("jenga", "IMPL")
    fakes: dict[str, Callable[..., Any]] = {"lora_linear": _fake_forward, "lora_linear_backward": _fake_backward}
    for name, fake in fakes.items():
        torch.library.register_fake(f"jenga::{name}", fake)
        torch.library.register_vmap(f"jenga::{name}", _refuse_vmap)
        # Gradients are those of `_LoraLinear`: the ops themselves need not look for any.
        library.impl(name, torch.library.fallthrough_kernel, "Autograd")
    return library


if CPU.implementation == "native":
    # Registrations last as long as the object that made them.
    _LIBRARY = _register()
    torch.library.impl("jenga::lora_linear", "cuda", _cuda_forward)
    torch.library.impl("jenga::lora_linear_backward", "cuda", _cuda_backward)
