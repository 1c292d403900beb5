"""What autocast does to the operands of a linear layer, for ops whose own products it does not see."""

import torch
from torch import Tensor


def autocast_is_on(device_type: str) -> bool:
    """Whether torch.autocast is on for a device type; torch knows none for "meta" and raises."""
    return device_type != "meta" and torch.is_autocast_enabled(device_type)


def as_autocast(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """The operands of a linear layer as autocast, where it is on, would cast them."""
    device_type = hidden.device.type
    if not autocast_is_on(device_type):
        return hidden, weight, bias
    dtype = torch.get_autocast_dtype(device_type)

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor

    return cast(hidden), cast(weight), None if bias is None else cast(bias)
