"""kernels/dtypes.py: the type that ops compute in."""

import pytest
import torch

from jenga.kernels.dtypes import accumulate_dtype


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_sums_are_float32_but_for_float64(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert accumulate_dtype(dtype) == expected
