"""kernels/registration.py: ops whose gradients are those of a function around them."""

import pytest
import torch

from jenga.kernels.registration import register_without_autograd


def test_an_op_gets_a_fake_no_autograd_and_a_refusal_of_vmap() -> None:
    library = torch.library.Library("jenga", "FRAGMENT")
    library.define("doubled_in_a_test(Tensor x) -> Tensor")
    # As compiled code, which records nothing by itself.
    library.impl("doubled_in_a_test", torch.no_grad()(lambda x: 2 * x), "CPU")
    kept = register_without_autograd({"doubled_in_a_test": torch.empty_like}, subject="doubling", rows="x")
    double = torch.ops.jenga.doubled_in_a_test
    result = double(torch.ones(3, requires_grad=True))
    assert result.tolist() == [2.0] * 3
    assert not result.requires_grad
    assert double(torch.ones(3, device="meta")).shape == (3,)
    with pytest.raises(NotImplementedError, match=r"doubling has no batching rule.*fold .* into the rows of x"):
        torch.func.vmap(double)(torch.ones(2, 3))
    kept._destroy()
    library._destroy()
