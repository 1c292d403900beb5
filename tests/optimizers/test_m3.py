"""M3 against its algorithm in plain NumPy."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from jenga.optimizers import M3

SHAPES = ((5, 3), (3, 5), (4,), (), (2, 3, 2))


def orthogonal(tensor: np.ndarray, steps: int) -> np.ndarray:
    found = tensor.reshape(tensor.shape[0] if tensor.ndim else 1, -1)
    if not found.any():
        return np.zeros_like(tensor)
    found = found / np.linalg.norm(found)
    for _ in range(steps):  # p(s) = 3.4445 s - 4.775 s^3 + 2.0315 s^5 of singular values s
        cubed = found @ found.T @ found
        found = 3.4445 * found - 4.775 * cubed + 2.0315 * (cubed @ found.T @ found)
    return found.reshape(tensor.shape)


def algorithm_1(
    weight: np.ndarray, gradients: list[np.ndarray], *, lr: float, decay: float, betas: Any, retention: Any,
    alpha: float, eps: float, steps: int, period: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    fast, slow, second = np.zeros_like(weight), np.zeros_like(weight), np.zeros_like(weight)
    for at in range(0, len(gradients), period):
        if at:  # the paper's outer loop: what the chunk before brought
            slow = retention[2] * slow + betas[2] * np.sum(gradients[at - period : at], axis=0)
        slow_direction = orthogonal(slow, steps)
        for gradient in gradients[at : at + period]:
            fast = retention[0] * fast + betas[0] * gradient
            second = retention[1] * second + betas[1] * gradient**2
            direction = orthogonal(fast, steps) + alpha * slow_direction
            weight = weight * (1 - lr * decay) - lr * direction / (np.sqrt(second) + eps)
    return {"weight": weight, "fast": fast, "slow": slow, "second": second}


def run(parameters: list[torch.nn.Parameter], optimizer: M3, gradients: list[list[torch.Tensor]]) -> None:
    for each in gradients:
        for p, gradient in zip(parameters, each, strict=True):
            p.grad = gradient.clone()
        optimizer.step()


def drawn(steps: int, dtype: torch.dtype = torch.float64) -> tuple[list[torch.nn.Parameter], list[list[torch.Tensor]]]:
    parameters = [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]
    return parameters, [[torch.randn(shape, dtype=dtype) for shape in SHAPES] for _ in range(steps)]


@pytest.mark.parametrize("retention", [(1.0, 1.0, 1.0), (0.9, 0.99, 0.8)])
def test_it_is_algorithm_1_of_the_paper(retention: tuple[float, float, float]) -> None:
    """In float64 to 1e-10: eight steps of sums of a few terms, in another order.

    The momenta are looked at themselves too: a weight does not tell their scale.
    """
    settings: dict[str, Any] = {
        "betas": (0.5, 0.3, 0.7),
        "retention": retention,
        "alpha": 0.6,
        "eps": 1e-3,
        "period": 3,
    }
    parameters, gradients = drawn(8)
    before = [p.detach().clone().numpy() for p in parameters]
    optimizer = M3(parameters, lr=0.1, weight_decay=0.2, ns_steps=4, **settings)
    run(parameters, optimizer, gradients)
    for at, (p, weight) in enumerate(zip(parameters, before, strict=True)):
        expected = algorithm_1(
            weight, [each[at].numpy() for each in gradients], lr=0.1, decay=0.2, steps=4, **settings
        )  # fmt: skip
        found = {"weight": p.detach(), **optimizer.state[p]}
        for name, each in expected.items():
            assert np.allclose(found[name].numpy(), each, rtol=1e-10, atol=1e-12), name


def test_slow_momentum_reaches_weights_only_after_its_period() -> None:
    found, (drawn_parameters, gradients) = [], drawn(4)
    for alpha in (0.0, 5.0):
        parameters = [torch.nn.Parameter(p.detach().clone()) for p in drawn_parameters]
        optimizer = M3(parameters, lr=0.1, alpha=alpha, period=3)
        run(parameters, optimizer, gradients[:3])
        three = [p.detach().clone() for p in parameters]
        run(parameters, optimizer, gradients[3:])
        found.append((three, [p.detach().clone() for p in parameters]))
    (three, four), (others_three, others_four) = found
    assert all(map(torch.equal, three, others_three))
    assert not any(map(torch.equal, four, others_four))


@pytest.mark.parametrize("cut", [2, 3, 4])
def test_a_resume_in_the_middle_of_a_period_goes_on_bit_for_bit(cut: int) -> None:
    parameters, gradients = drawn(8, torch.float32)
    optimizer = M3(parameters, lr=0.1, period=3)
    run(parameters, optimizer, gradients[:cut])
    others = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    resumed = M3(others, lr=0.1, period=3)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(parameters, optimizer, gradients[cut:])
    run(others, resumed, gradients[cut:])
    assert all(map(torch.equal, parameters, others))


def test_a_parameter_without_a_gradient_stays() -> None:
    parameters, gradients = drawn(1)
    before = parameters[0].detach().clone()
    for p, gradient in zip(parameters[1:], gradients[0][1:], strict=True):
        p.grad = gradient
    optimizer = M3(parameters, lr=0.1, weight_decay=0.5)
    optimizer.step()
    assert torch.equal(parameters[0], before)
    assert parameters[0] not in optimizer.state


@pytest.mark.parametrize(
    "wrong",
    [{"betas": (0.0, 0.9, 0.9)}, {"retention": (1.1, 1.0, 1.0)}, {"alpha": -1.0}, {"period": 0}, {"ns_steps": 0}],
)
def test_what_is_not_allowed_is_told_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"{name}: got .*; allowed: "):
        M3([torch.nn.Parameter(torch.zeros(1))], **wrong)
