"""The op and its backward where they are not C++: their fakes, which torch.compile traces, and CUDA."""

from typing import Any

import torch
from torch import Tensor

from .._native import check_triton
from ..dtypes import accumulate_dtype
from ..registration import register_without_autograd
from .arguments import LoraArguments, WantedGradients
from .checks import check_devices, check_op, check_op_biases, check_op_gradients


# In these four, `updates` are the arguments of csrc/ops.cpp from lora_as to seed.
def _fake_forward(
    x: Tensor, weights: list[Tensor], biases: list[Tensor], biased: list[int], *updates: Any
) -> tuple[list[Tensor], Tensor]:
    arguments = LoraArguments(x, weights, *updates)
    check_devices(x, (*arguments.tensors(), *biases))
    outputs = [x.new_empty((x.shape[0], weight.shape[0])) for weight in weights]
    return outputs, x.new_empty((x.shape[0], arguments.n_ranks), dtype=accumulate_dtype(x.dtype))


def _fake_backward(
    grads: list[Tensor], x: Tensor, projected: Tensor, weights: list[Tensor], *updates: Any
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    arguments, wanted = _backward_arguments(x, weights, *updates)
    dx = x.new_empty(x.shape if wanted.x else 0)
    das = [lora_a.new_empty(lora_a.shape) for lora_a in arguments.lora_as] if wanted.a else []
    dbs = [lora_b.new_empty(lora_b.shape) for lora_b in arguments.lora_bs] if wanted.b else []
    return dx, das, dbs


def cuda_forward(
    x: Tensor, weights: list[Tensor], biases: list[Tensor], biased: list[int], *updates: Any
) -> tuple[list[Tensor], Tensor]:
    """The op on CUDA, its arguments checked. Raises ImportError without Triton, ValueError for wrong arguments."""
    check_triton("lora_linear")
    arguments = LoraArguments(x, weights, *updates)
    check_op(arguments)
    check_op_biases(arguments, biases, biased)
    from .cuda import lora_linear_forward

    bias_of = dict(zip(biased, biases, strict=True))
    # Triton launches on the current device, which may be another.
    with torch.cuda.device_of(x):
        return lora_linear_forward(arguments, [bias_of.get(layer) for layer in range(len(weights))])


def cuda_backward(
    grads: list[Tensor], x: Tensor, projected: Tensor, weights: list[Tensor], *updates: Any
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The backward op on CUDA; see `cuda_forward`."""
    check_triton("lora_linear")
    arguments, wanted = _backward_arguments(x, weights, *updates)
    check_op(arguments)
    check_op_gradients(arguments, grads, projected)
    from .cuda import lora_linear_backward

    with torch.cuda.device_of(x):
        return lora_linear_backward(arguments, grads, projected, wanted)


def _backward_arguments(x: Tensor, weights: list[Tensor], *updates: Any) -> tuple[LoraArguments, WantedGradients]:
    *shared, wants_x, wants_a, wants_b = updates
    return LoraArguments(x, weights, *shared), WantedGradients(wants_x, wants_a, wants_b)


def register() -> torch.library.Library:
    """Registers what is here; the result has to be kept."""
    torch.library.impl("jenga::lora_linear", "cuda", cuda_forward)
    torch.library.impl("jenga::lora_linear_backward", "cuda", cuda_backward)
    # Gradients are those of `autograd.LoraLinear`.
    return register_without_autograd(
        {"lora_linear": _fake_forward, "lora_linear_backward": _fake_backward}, subject="lora_linear", rows="x"
    )
