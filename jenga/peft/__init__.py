"""Parameter-efficient training: LoRA, DoRA and bottleneck adapters in a frozen encoder."""

from jenga.peft.base import Adapters
from jenga.peft.inject import base_of, inject, load_adapters

__all__ = ["Adapters", "base_of", "inject", "load_adapters"]
