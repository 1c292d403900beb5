"""Batches whose elements are counted in more than 31 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import seeds
import torch
from torch import Tensor

from jenga.kernels import HeadSpec, multi_head_loss

MakeCase = Callable[..., Any]


def far_apart(rows: Tensor) -> Tensor:
    """The same rows, 2^30 elements apart: the third lies beyond 2^31. Untouched pages take no memory."""
    try:
        room = torch.empty(2**30 * (len(rows) - 1) + rows[0].numel(), dtype=rows.dtype)
    except RuntimeError as error:  # torch says so where the system promises no more memory
        pytest.skip(f"no room: {error}")
    apart = room.as_strided(rows.shape, (2**30, *rows.stride()[1:]))
    return apart.copy_(rows)


def test_rows_more_than_2_to_the_31_elements_apart_are_read_where_they_lie(make_case: MakeCase) -> None:
    heads = [HeadSpec("ce", 3), HeadSpec("bce", 2), HeadSpec("focal", 2), HeadSpec("mse", 1)]
    case = make_case(4, heads=heads, masked=0.0, dtype=torch.bfloat16)
    near = case.run(multi_head_loss)
    case.hidden, case.targets[1] = far_apart(case.hidden), far_apart(case.targets[1])
    assert case.hidden.stride(0) * 3 > 2**31
    far = case.run(multi_head_loss)
    torch.testing.assert_close(far.result.loss_sum, near.result.loss_sum)
    torch.testing.assert_close(far.gradients, near.gradients)
    logits = case.random_logits()
    arguments = case.op_arguments(logits)
    apart = torch.ops.jenga.multi_head_loss(far_apart(logits.half()), *arguments[1:])
    for tensor, expected in zip(apart, torch.ops.jenga.multi_head_loss(logits.half(), *arguments[1:]), strict=True):
        assert torch.equal(tensor, expected)


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("with_slope", [False, True])
def test_more_than_2_to_the_31_logits_match_their_first_and_last_rows(with_slope: bool) -> None:
    n_rows, size = 2**26 + 1, 32
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # bfloat16 logits, labels and predicted classes; the float32 slope. The gradient takes the place of the logits.
    needed = n_rows * (2 * size + 8 + 8 + (4 * size if with_slope else 0))
    available = torch.cuda.mem_get_info()[0] if device == "cuda" else memory_available()
    if available < 1.2 * needed:
        pytest.skip(f"needs {1.2 * needed / 2**30:.0f} GiB of memory; {available / 2**30:.0f} are free")
    logits = torch.zeros(n_rows, size, dtype=torch.bfloat16, device=device)
    labels = torch.full((n_rows,), -100, device=device)
    ends = torch.tensor([0, n_rows - 1], device=device)
    logits[ends] = torch.randn(2, size, generator=seeds.generator(0)).to(logits)
    labels[ends] = torch.tensor([3, 30], device=device)
    options = [0], [size], [], [], [], None, []
    loss_sum, count, slope, classes, *_ = torch.ops.jenga.multi_head_loss(logits, [labels], *options, with_slope)
    few = torch.ops.jenga.multi_head_loss(logits[ends], [labels[ends]], *options, True)
    assert count.item() == 2
    torch.testing.assert_close(loss_sum, few[0])
    assert torch.equal(classes[:, ends], few[3])
    assert classes[:, 1:-1].count_nonzero() == 0
    if with_slope:
        del logits, classes
        assert torch.equal(slope[ends], few[2])
        assert slope.count_nonzero() == few[2].count_nonzero()
        like, ones = torch.empty(0, dtype=torch.bfloat16, device=device), torch.ones(1, device=device)
        gradient = torch.ops.jenga.multi_head_loss_backward(ones, slope, [size], like)
        assert torch.equal(gradient[ends], few[2].bfloat16())


def memory_available() -> int:
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
