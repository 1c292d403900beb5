"""`lora_linear`: the public functions. autograd.py has their gradients, implementations.py the op on other devices."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .._native import CPU, triton_backend
from ..autocast import autocast_is_on
from .autograd import LoraLinear, Plan, run
from .checks import check_call, check_group, check_quickly
from .few_rows import has_few_rows, linear_of_few_rows
from .implementations import register
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
        (again too with fewer than `few_rows.FEW_ROWS` rows, which torch's own products compute).

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
            if has_few_rows(x, weight, bias, update):
                return [linear_of_few_rows(x, weight, bias, update)]  # type: ignore[arg-type]
        return _updates(x, weights, biases, updates, rows, dropout, seed)
    except (IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        # What is wrong, in the words of this function rather than of the op or of torch.
        check_call(x, weights, biases, updates, rows, dropout, seed)
        raise


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
        plan = Plan(
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
            outputs = list(LoraLinear.apply(plan, flat_rows, seed_tensor, flat, *tensors))
        else:
            outputs = run(plan, flat_rows, seed_tensor, flat, tensors)[0]
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


if CPU.implementation == "native":
    # Registrations last as long as the object that made them.
    _LIBRARY = register()
