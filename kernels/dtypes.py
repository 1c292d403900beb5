"""The type that ops compute in; `jenga::Accumulate` in C++."""

import torch


def accumulate_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type of losses and of sums over rows or columns: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
