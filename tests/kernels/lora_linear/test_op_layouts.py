"""Layouts that `lora_linear` reads where they lie: transposed, sliced, expanded, far apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

MakeCase = Callable[..., Any]
# As in test_op.py.
FLOAT32 = {"rtol": 2e-5, "atol": 1e-4}


def everything(case: Any) -> Any:
    """The same case with a gradient for every leaf."""
    case.wanted = set(case.leaves())
    return case


def assert_matches_float64(case: Any) -> None:
    ours, truth = case.run(), case.truth()
    for output, expected in zip(ours.outputs, truth.outputs, strict=True):
        torch.testing.assert_close(output.double(), expected, **FLOAT32)
    doubled = {name: gradient.double() for name, gradient in ours.gradients.items()}
    torch.testing.assert_close(doubled, truth.gradients, **FLOAT32)


def columns_apart(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, torch.full_like(tensor, 7)], dim=-1)[..., 0]


def rows_apart(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, torch.full_like(tensor[..., :3], 7)], dim=-1)[..., : tensor.shape[-1]]


def transposed(tensor: Tensor) -> Tensor:
    return tensor.t().contiguous().t()


def further_on(tensor: Tensor) -> Tensor:
    """Last in memory that others share, as a part of a fused weight or of a concatenation's gradient is."""
    return torch.cat([torch.full_like(tensor[..., :1], 7), tensor], dim=-1)[..., 1:]


LAYOUTS = [columns_apart, rows_apart, further_on, transposed]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_leaves_of_any_layout_give_what_contiguous_ones_give(
    make_case: MakeCase, layout: Callable[[Tensor], Tensor], dtype: torch.dtype, dropout: float
) -> None:
    case = everything(make_case(33, n_inputs=70, n_outputs=(20, 1), ranks=(4, 1), dtype=dtype, dropout=dropout))
    odd = case.mapped(lambda _, leaf: columns_apart(leaf) if leaf.dim() == 1 else layout(leaf))
    assert not any(leaf.is_contiguous() for leaf in odd.leaves().values() if min(leaf.shape) > 1)
    ours, expected = odd.run(), case.run()
    # A GEMM may take another path for another layout; half precision rounds what differs to neighbours.
    tolerance = {"rtol": 2**-7, "atol": 1e-2} if dtype == torch.bfloat16 else FLOAT32
    torch.testing.assert_close(ours.outputs, expected.outputs, **tolerance)
    torch.testing.assert_close(ours.gradients, expected.gradients, **tolerance)


def test_x_and_the_upstream_gradient_may_be_expanded(make_case: MakeCase) -> None:
    case = make_case(1, 19, dropout=0.2)
    case.x = case.x[:, :1].expand(5, 6, 19)
    assert_matches_float64(everything(case))
    case = case.learning()
    (output,) = case.call()
    (summed,) = torch.autograd.grad(output.sum(), case.updates[0].lora_a, retain_graph=True)  # a gradient of stride 0
    (expected,) = torch.autograd.grad(output, case.updates[0].lora_a, torch.ones_like(output))
    assert torch.equal(summed, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_upstream_gradients_of_joined_outputs_are_read_where_they_lie(make_case: MakeCase, dtype: torch.dtype) -> None:
    case = everything(make_case(33, n_inputs=70, n_outputs=(20, 12), ranks=(4, 4), dtype=dtype)).learning()
    outputs, leaves = case.call(), list(case.leaves().values())
    given = case.upstream()
    expected = torch.autograd.grad(outputs, leaves, given, retain_graph=True)
    # The second's gradient begins within the rows of the first's.
    found = torch.autograd.grad(torch.cat(outputs, -1), leaves, torch.cat(given, -1))
    tolerance = {"rtol": 2**-7, "atol": 1e-2} if dtype == torch.bfloat16 else FLOAT32
    torch.testing.assert_close(found, expected, **tolerance)


def test_the_first_token_of_each_sequence_is_read_where_it_lies(make_case: MakeCase) -> None:
    case = make_case(5, 6)
    case.x = case.x[:, 0]
    assert not case.x.is_contiguous()
    assert_matches_float64(everything(case))


def test_rows_more_than_2_to_the_31_elements_apart_are_read_where_they_lie(make_case: MakeCase) -> None:
    case = make_case(3, dropout=0.2)
    near = case.run()
    try:
        room = torch.empty(2**31 + case.x[0].numel(), dtype=case.x.dtype)  # untouched pages take no memory
    except RuntimeError as error:  # torch says so where the system promises no more memory
        pytest.skip(f"no room: {error}")
    case.x = room.as_strided(case.x.shape, (2**30, 1)).copy_(case.x)
    far = case.run()
    torch.testing.assert_close(far.outputs, near.outputs, **FLOAT32)
    torch.testing.assert_close(far.gradients, near.gradients, **FLOAT32)
