"""kernels/once.py: a gradient that cannot be differentiated again says so."""

import pytest
import torch

from jenga.kernels import linear_cross_entropy
from jenga.kernels.once import differentiable_once


def test_a_backward_pass_through_such_a_gradient_names_the_op() -> None:
    source = torch.ones(2, requires_grad=True)
    gradient, missing = differentiable_once("some_op", (torch.tensor([3.0, 4.0]), None), (source, None))
    assert missing is None
    assert gradient is not None
    assert gradient.tolist() == [3.0, 4.0]
    with pytest.raises(RuntimeError, match="some_op has no second derivative"):
        gradient.sum().backward()


def test_a_gradient_that_depends_on_nothing_is_a_constant() -> None:
    (gradient,) = differentiable_once("some_op", (torch.ones(1),), (torch.ones(1),))
    assert gradient is not None
    assert not gradient.requires_grad


def test_torch_func_grad_passes_through_and_a_second_one_is_refused() -> None:
    weight, targets = torch.randn(9, 4), torch.arange(5)

    def loss(hidden: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(hidden, weight, targets)

    hidden = torch.randn(5, 4)
    assert torch.func.grad(loss)(hidden).shape == hidden.shape
    with pytest.raises(RuntimeError, match="linear_cross_entropy has no second derivative"):
        torch.func.grad(lambda x: torch.func.grad(loss)(x).square().sum())(hidden)
