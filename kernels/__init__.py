"""Native ops of Jenga: each is one public function with a PyTorch reference beside it.

Importing this package loads the compiled library `jenga._C`. A package built with JENGA_NATIVE=OFF runs on the
references instead and warns once.
"""

# With the clone's root on sys.path this folder is `kernels` too, the name of a package that transformers looks for and
# imports. That must not register every op a second time.
if __name__ == "jenga.kernels":
    from ._native import Backend, backend_info
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
