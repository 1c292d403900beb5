"""Linear layers with low-rank updates (LoRA, DoRA) at little over the price of the frozen layer."""

from .dora import dora_linear, row_norm, row_square
from .op import lora_linear, lora_linear_grouped, lora_linear_updates
from .parts import FrozenWeight, Update
from .reference import keep_mask, lora_linear_reference

__all__ = [
    "FrozenWeight",
    "Update",
    "dora_linear",
    "keep_mask",
    "lora_linear",
    "lora_linear_grouped",
    "lora_linear_reference",
    "lora_linear_updates",
    "row_norm",
    "row_square",
]
