"""Linear layers with low-rank updates (LoRA) at the price of the frozen layer."""

from .op import lora_linear, lora_linear_grouped, lora_linear_updates
from .parts import FrozenWeight, Update
from .reference import keep_mask, lora_linear_reference

__all__ = [
    "FrozenWeight",
    "Update",
    "keep_mask",
    "lora_linear",
    "lora_linear_grouped",
    "lora_linear_reference",
    "lora_linear_updates",
]
