"""kernels/autocast.py: operands as autocast would cast them."""

import torch

from jenga.kernels.autocast import as_autocast


def test_without_autocast_nothing_changes() -> None:
    hidden, weight = torch.ones(2, 3), torch.ones(4, 3)
    assert [id(each) for each in as_autocast(hidden, weight, None)] == [id(hidden), id(weight), id(None)]


def test_autocast_takes_float32_down_and_leaves_float64() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, weight, bias = as_autocast(torch.ones(2, 3), torch.ones(4, 3, dtype=torch.float64), torch.ones(4))
    assert bias is not None
    assert [hidden.dtype, weight.dtype, bias.dtype] == [torch.bfloat16, torch.float64, torch.bfloat16]
