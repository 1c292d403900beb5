"""kernels/skinny_linear: products with few outputs, forward and backward, against float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jenga.kernels.skinny_linear import SKINNY_OUTPUTS, is_skinny, skinny_linear, skinny_linear_gradients

# Tiles are of 4 rows and 3 or 6 outputs, columns go by 64 and 192: sizes at and beside them.
SIZES = [(1, 1, 1), (4, 64, 3), (5, 193, 7), (130, 65, 128), (0, 5, 2), (3, 0, 2)]


def operands(n_rows: int, n_inputs: int, n_outputs: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x of rows apart, weight, bias and the gradient of the result."""
    x = torch.randn(n_rows, n_inputs + 3)[:, :n_inputs]
    return x, torch.randn(n_outputs, n_inputs), torch.randn(n_outputs), torch.randn(n_rows, n_outputs)


def assert_as_precise_as_float32(got: Tensor | None, expected: Tensor, n_terms: int) -> None:
    """Terms of about 1: each addition of `n_terms` may round by half a unit of a sum of about sqrt(n_terms)."""
    assert got is not None
    assert got.dtype == torch.float32
    tolerance = 4 * torch.finfo(torch.float32).eps * (n_terms + 1)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("n_rows", "n_inputs", "n_outputs"), SIZES)
@pytest.mark.parametrize("biased", [True, False])
def test_the_product_is_that_of_float64(n_rows: int, n_inputs: int, n_outputs: int, biased: bool) -> None:
    x, weight, bias, _ = operands(n_rows, n_inputs, n_outputs)
    expected = F.linear(x.double(), weight.double(), bias.double() if biased else None)
    assert_as_precise_as_float32(skinny_linear(x, weight, bias if biased else None), expected, n_inputs)


@pytest.mark.parametrize(("n_rows", "n_inputs", "n_outputs"), SIZES)
def test_the_gradients_are_those_of_float64(n_rows: int, n_inputs: int, n_outputs: int) -> None:
    x, weight, _, grad = operands(n_rows, n_inputs, n_outputs)
    dx, dweight, dbias = skinny_linear_gradients(grad, x, weight, True)
    assert_as_precise_as_float32(dx, grad.double() @ weight.double(), n_outputs)
    assert_as_precise_as_float32(dweight, grad.double().t() @ x.double(), n_rows)
    assert_as_precise_as_float32(dbias, grad.double().sum(0), n_rows)


def test_gradients_that_are_not_wanted_are_none() -> None:
    x, weight, _, grad = operands(5, 6, 2)
    assert skinny_linear_gradients(grad, None, None, False) == (None, None, None)
    dx, dweight, dbias = skinny_linear_gradients(grad, None, weight, False)
    assert (dx is not None, dweight, dbias) == (True, None, None)
    dx, dweight, dbias = skinny_linear_gradients(grad, x, None, False)
    assert (dx, dweight is not None, dbias) == (None, True, None)


def test_only_float32_on_a_cpu_with_few_outputs_is_skinny() -> None:
    x = torch.ones(2, 3)
    assert is_skinny(x, SKINNY_OUTPUTS)
    assert not is_skinny(x, SKINNY_OUTPUTS + 1)
    assert not is_skinny(x.double(), 1)
    assert not is_skinny(x.to("meta"), 1)


def test_opcheck_passes() -> None:
    x, weight, bias, grad = operands(5, 6, 2)
    for given in ((x, weight, bias), (x, weight, None)):
        torch.library.opcheck(torch.ops.jenga.skinny_linear.default, given)
    backward = torch.ops.jenga.skinny_linear_backward.default
    torch.library.opcheck(backward, (grad, x, weight, True))
    # What is not wanted holds no value that could be compared.
    for given in ((grad, None, weight, False), (grad, x, None, True)):
        torch.library.opcheck(backward, given, test_utils=("test_schema", "test_faketensor"))


def test_other_forms_are_refused_and_results_too_large_to_count() -> None:
    op, backward = torch.ops.jenga.skinny_linear, torch.ops.jenga.skinny_linear_backward
    with pytest.raises(ValueError, match="x: got dtype Double; allowed: Float"):
        op(torch.ones(2, 3).double(), torch.ones(4, 3), None)
    with pytest.raises(ValueError, match=r"x: got shape \(2, 3\); allowed: \(2, 5\)"):
        op(torch.ones(2, 3), torch.ones(4, 5), None)
    with pytest.raises(ValueError, match=r"bias: got shape \(3,\); allowed: \(4,\)"):
        op(torch.ones(2, 3), torch.ones(4, 3), torch.ones(3))
    with pytest.raises(ValueError, match=r"weight: got shape \(5, 3\); allowed: \(4, 3\)"):
        backward(torch.ones(2, 4), None, torch.ones(5, 3), False)
    with pytest.raises(ValueError, match=r"elements of a result: .* is too large; allowed: up to 2\^63 - 1"):
        op(torch.ones(2**62, 0), torch.ones(2**62, 0), None)
    with pytest.raises(MemoryError, match=r"a result of shape \(4398046511104, 4\) and dtype Float could not be"):
        op(torch.ones(()).expand(2**42, 1), torch.ones(4, 1), None)
    with pytest.raises(MemoryError, match=r"a copy of an argument of shape \(2, 4398046511104\) and dtype Float could"):
        op(torch.ones(()).expand(2, 2**42), torch.ones(()).expand(1, 2**42), None)
    # Rows of nothing, of which there are more than can be counted through.
    assert op(torch.ones(2**62, 0), torch.ones(0, 0), None).shape == (2**62, 0)
    assert backward(torch.ones(0, 0), torch.ones(0, 2**62), None, False)[1].shape == (0, 2**62)
