"""What is added to the linear layers of one x: low-rank updates, each of one layer."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

FrozenWeight = Callable[[], Tensor]
"""Gives a base weight (N, K) when it is needed, such as a dequantised one; called again in the backward pass."""


# Not frozen: making a frozen one takes several times as long, and a step makes one a layer.
@dataclass(slots=True, eq=False)
class Update:
    """`scale * lora_b @ lora_a`, added to the weight of layer `projection`.

    Attributes:
        lora_a: (R, K) floating. lora_b: (N, R) floating.
        scale: alpha / R, or alpha / sqrt(R) for rsLoRA (Kalajdzievski 2023).
        projection: index of the layer among those of the call.
        adapter: which rows see it, where the call has `rows`.
    """

    lora_a: Tensor
    lora_b: Tensor
    scale: float
    projection: int = 0
    adapter: int = 0
