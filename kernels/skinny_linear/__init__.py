"""Linear layers with few outputs, such as heads: products that beat the general GEMM on a CPU."""

from .op import SKINNY_OUTPUTS, is_skinny, skinny_linear, skinny_linear_gradients

__all__ = ["SKINNY_OUTPUTS", "is_skinny", "skinny_linear", "skinny_linear_gradients"]
