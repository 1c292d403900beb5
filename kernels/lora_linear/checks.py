"""What the public functions of lora_linear refuse, before anything is computed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..autocast import autocast_is_on
from .arguments import LoraArguments
from .parts import FrozenWeight, Update

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_ALLOWED = "float32, float64, bfloat16, float16"


def check_group(**parts: Sequence[Any]) -> None:
    """Raise ValueError where the sequences, one element a layer, differ in length."""
    lengths = {name: len(part) for name, part in parts.items()}
    if len(set(lengths.values())) != 1:
        got = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"lora_linear_grouped: got {got}; allowed: one of each a layer")


def check_quickly(
    x: Tensor,
    weights: Sequence[Tensor | FrozenWeight],
    biases: Sequence[Tensor | None],
    updates: Sequence[Update],
    rows: Tensor | None,
    seed: int | Tensor | None,
) -> None:
    """Raise ValueError or NotImplementedError for what the C++ op cannot see; `check_call` has the words for it."""
    if len(weights) != len(biases) or not x.is_floating_point() or (rows is not None and rows.shape != x.shape[:-1]):
        raise ValueError("weights, biases, x, rows")
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError("torch.func")
    dtype = x.dtype
    for weight in weights:
        if isinstance(weight, Tensor) and not (weight.is_cpu and (weight.dtype == dtype or autocast_is_on("cpu"))):
            raise ValueError("weight")
    for update in updates:
        if not (update.lora_a.is_cpu and update.lora_b.is_cpu):
            raise ValueError("lora_a, lora_b")
    for tensor in (*biases, rows, seed):
        if isinstance(tensor, Tensor) and not tensor.is_cpu:
            raise ValueError("biases, rows, seed")


def check_call(
    x: Tensor,
    weights: Sequence[Tensor | FrozenWeight],
    biases: Sequence[Tensor | None],
    updates: Sequence[Update],
    rows: Tensor | None,
    dropout: float,
    seed: int | Tensor | None,
) -> None:
    """Raise ValueError where the arguments of `lora_linear_updates` disagree.

    Raises NotImplementedError under transforms of torch.func.
    """
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "lora_linear: transforms of torch.func (vmap, grad, jvp) are not supported. For gradients, use autograd; "
            "in place of vmap, fold the mapped dimension into the rows of x, which are independent"
        )
    if x.dim() < 1 or x.dtype not in _DTYPES:
        raise ValueError(
            f"x: got {x.dtype} of shape {tuple(x.shape)}; allowed: {_ALLOWED}, of at least one dimension"
        )  # fmt: skip
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout: got {dropout}; allowed: 0 <= dropout < 1")
    if not weights or len(weights) != len(biases):
        raise ValueError(f"weights, biases: got {len(weights)} and {len(biases)}; allowed: as many, 1 or more")
    if rows is not None:
        if rows.dtype != torch.int64 or rows.shape != x.shape[:-1]:
            raise ValueError(
                f"rows: got {rows.dtype} of shape {tuple(rows.shape)}; allowed: int64 {tuple(x.shape[:-1])}, the "
                "adapter of each row"
            )
        _check_device("rows", rows, x)
    _check_seed(seed, x)
    for index, weight in enumerate(weights):
        if isinstance(weight, Tensor):
            _check_weight(index, x, weight)
        _check_bias(index, x, weight, biases[index])
    for index, update in enumerate(updates):
        _check_update(index, x, weights, update)


def check_op(arguments: LoraArguments) -> None:
    """Raise ValueError for what the op on CUDA, called by itself, would read beyond its inputs with.

    The C++ op checks the same (csrc/include/jenga/lora_arguments.h). Unlike `check_call` it lets weights have another
    dtype than x: in the backward pass of a model under autocast they do.
    """
    x, weights, rows, dropout, seed = (
        arguments.x, arguments.weights, arguments.rows, arguments.dropout, arguments.seed
    )  # fmt: skip
    if x.dim() != 2 or x.dtype not in _DTYPES:
        raise ValueError(f"x: got {x.dtype} of {x.dim()} dimensions; allowed: {_ALLOWED} (rows, inputs)")
    if not weights:
        raise ValueError("weights: got none; allowed: 1 or more")
    for index, weight in enumerate(weights):
        if weight.dim() != 2 or weight.shape[1] != x.shape[1] or weight.dtype not in _DTYPES:
            raise ValueError(f"weights[{index}]: must be floating (outputs, {x.shape[1]})")
    of_parts = (arguments.lora_as, arguments.lora_bs, arguments.scales, arguments.projections, arguments.adapters)
    if len({len(each) for each in of_parts}) != 1:
        raise ValueError("lora_as, lora_bs, scales, projections and adapters differ in length")
    for part in range(len(arguments.lora_as)):
        _check_part(arguments, part)
    if rows is not None and (rows.dtype != torch.int64 or rows.shape != x.shape[:1]):
        raise ValueError(f"rows: got {rows.dtype} of shape {tuple(rows.shape)}; allowed: int64 ({x.shape[0]},)")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout: got {dropout}; allowed: 0 <= dropout < 1")
    if dropout and (seed is None or seed.dtype != torch.int64 or seed.numel() != 1):
        raise ValueError("seed: dropout needs one int64")
    check_devices(x, arguments.tensors())


def _check_part(arguments: LoraArguments, part: int) -> None:
    a, b, layer, adapter = (
        arguments.lora_as[part], arguments.lora_bs[part], arguments.projections[part], arguments.adapters[part]
    )  # fmt: skip
    n_inputs, weights = arguments.x.shape[1], arguments.weights
    if not 0 <= layer < len(weights):
        raise ValueError(f"projections[{part}]: got {layer}; allowed: 0 to {len(weights) - 1}")
    if adapter < 0:
        raise ValueError(f"adapters[{part}]: got {adapter}; allowed: 0 or more, since rows of -1 have none")
    n_outputs = weights[layer].shape[0]
    if a.dim() != 2 or a.shape[0] < 1 or a.shape[1] != n_inputs or b.shape != (n_outputs, a.shape[0]):
        raise ValueError(
            f"lora_a, lora_b of part {part}: must have shapes (R, {n_inputs}) and ({n_outputs}, R), R >= 1"
        )
    for name, tensor in (("lora_a", a), ("lora_b", b)):
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{name} of part {part}: got dtype {tensor.dtype}; allowed: {_ALLOWED}")


def check_op_biases(arguments: LoraArguments, biases: Sequence[Tensor], biased: Sequence[int]) -> None:
    """Raise ValueError unless `biases` are those of the layers `biased`; for arguments that `check_op` has passed."""
    weights = arguments.weights
    if len(biases) != len(biased):
        raise ValueError("biases and biased differ in length")
    for place, (index, bias) in enumerate(zip(biased, biases, strict=True)):
        if not 0 <= index < len(weights) or bias.shape != weights[index].shape[:1] or bias.dtype not in _DTYPES:
            raise ValueError(f"biases[{place}]: must be floating, as many values as its weight has rows")
    check_devices(arguments.x, biases)


def check_op_gradients(arguments: LoraArguments, grads: Sequence[Tensor], projected: Tensor) -> None:
    """Raise ValueError for gradients of the outputs, or projections, of another form than the other arguments say."""
    n_rows = arguments.x.shape[0]
    shapes = [(n_rows, weight.shape[0]) for weight in arguments.weights]
    if [each.shape for each in grads] != shapes or any(each.dtype not in _DTYPES for each in grads):
        raise ValueError(f"grads: got {[tuple(each.shape) for each in grads]}; allowed: floating {shapes}")
    if projected.shape != (n_rows, arguments.n_ranks) or projected.dtype not in _DTYPES:
        raise ValueError(f"projected: got {tuple(projected.shape)}; allowed: floating {(n_rows, arguments.n_ranks)}")
    check_devices(arguments.x, (*grads, projected))


def check_devices(x: Tensor, others: Sequence[Tensor | None]) -> None:
    """Raise ValueError where tensors lie on several devices: with one on "meta", torch takes the op for its fake."""
    for tensor in others:
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"lora_linear: x is on {x.device}, another tensor on {tensor.device}; move one")


def _check_device(name: str, tensor: Tensor, x: Tensor) -> None:
    if tensor.device != x.device:
        raise ValueError(f"{name}: is on {tensor.device}, x on {x.device}; move one")


def _check_seed(seed: int | Tensor | None, x: Tensor) -> None:
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.numel() != 1:
            raise ValueError(f"seed: got {seed.dtype} of shape {tuple(seed.shape)}; allowed: one int64")
        _check_device("seed", seed, x)
    elif seed is not None and (not isinstance(seed, int) or not -(2**63) <= seed < 2**63):
        raise ValueError(f"seed: got {seed!r}; allowed: an int of 64 bits with sign, an int64 tensor, or None")


def _check_weight(index: int, x: Tensor, weight: Tensor) -> None:
    if weight.dim() != 2 or weight.shape[1] != x.shape[-1]:
        raise ValueError(f"weight {index}: got shape {tuple(weight.shape)}; allowed: (N, {x.shape[-1]})")
    _check_device(f"weight {index}", weight, x)
    # Autocast casts floating operands only.
    if weight.dtype != x.dtype and not (weight.dtype in _DTYPES and autocast_is_on(x.device.type)):
        raise ValueError(f"weight {index}: is {weight.dtype}, x {x.dtype}; cast one, or use torch.autocast")


def _check_bias(index: int, x: Tensor, weight: Tensor | FrozenWeight, bias: Tensor | None) -> None:
    if bias is None:
        return
    if bias.dim() != 1 or bias.dtype not in _DTYPES or (isinstance(weight, Tensor) and len(bias) != weight.shape[0]):
        length = weight.shape[0] if isinstance(weight, Tensor) else "N"
        raise ValueError(
            f"bias {index}: got {bias.dtype} of shape {tuple(bias.shape)}; allowed: ({length},), {_ALLOWED}"
        )
    _check_device(f"bias {index}", bias, x)


def _check_update(index: int, x: Tensor, weights: Sequence[Tensor | FrozenWeight], update: Update) -> None:
    lora_a, lora_b = update.lora_a, update.lora_b
    if not 0 <= update.projection < len(weights):
        raise ValueError(f"update {index}: projection {update.projection}; allowed: 0 to {len(weights) - 1}")
    if update.adapter < 0:
        raise ValueError(f"update {index}: adapter {update.adapter}; allowed: 0 or more, since rows of -1 have none")
    weight = weights[update.projection]
    n_outputs = weight.shape[0] if isinstance(weight, Tensor) else lora_b.shape[0]
    if lora_a.dim() != 2 or lora_a.shape[0] < 1 or lora_a.shape[1] != x.shape[-1]:
        raise ValueError(f"lora_a {index}: got shape {tuple(lora_a.shape)}; allowed: (R, {x.shape[-1]}), R at least 1")
    if lora_b.shape != (n_outputs, lora_a.shape[0]):
        raise ValueError(f"lora_b {index}: got shape {tuple(lora_b.shape)}; allowed: ({n_outputs}, {lora_a.shape[0]})")
    for name, tensor in (("lora_a", lora_a), ("lora_b", lora_b)):
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{name} {index}: got {tensor.dtype}; allowed: {_ALLOWED}")
        _check_device(f"{name} {index}", tensor, x)
