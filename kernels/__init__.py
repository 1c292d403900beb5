"""Native ops of Jenga: each is one public function with a PyTorch reference beside it.

Importing this package loads the compiled library `jenga._C`. A package built with JENGA_NATIVE=OFF runs on the
references instead and warns once. Raises ImportError where the library is missing but was not switched off.
"""

from ._native import Backend, backend, refinery_backend, triton_backend
from .linear_cross_entropy import linear_cross_entropy
from .linear_distillation import TeacherTopk, linear_distillation, teacher_topk
from .lora_linear import FrozenWeight, Update, dora_linear, lora_linear, lora_linear_grouped, lora_linear_updates
from .multi_head_loss import HeadSpec, MultiHeadLoss, multi_head_loss
from .refinery import refine

__all__ = [
    "Backend",
    "FrozenWeight",
    "HeadSpec",
    "MultiHeadLoss",
    "TeacherTopk",
    "Update",
    "backend_info",
    "dora_linear",
    "linear_cross_entropy",
    "linear_distillation",
    "lora_linear",
    "lora_linear_grouped",
    "lora_linear_updates",
    "multi_head_loss",
    "refine",
    "teacher_topk",
]

_BACKENDS = {
    "linear_cross_entropy": triton_backend,
    "linear_distillation": triton_backend,
    "lora_linear": triton_backend,
    "multi_head_loss": backend,
    "refine": refinery_backend,
}
_DEVICE_TYPES = ("cpu", "cuda")


def backend_info() -> dict[str, dict[str, Backend]]:
    """Which implementation each op uses here, by op name and then device type, and why.

    >>> backend_info()["multi_head_loss"]["cpu"].implementation
    'native'
    """
    return {op: {device_type: of(device_type) for device_type in _DEVICE_TYPES} for op, of in _BACKENDS.items()}
