"""Deep momentum against its equations in plain NumPy, and in the two special cases of the paper."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from jenga.optimizers import DeepMomentum
from jenga.optimizers.orthogonal import adamw_scale, newton_schulz

SHAPES = ((5, 3), (3, 5), (4,), (), (2, 3, 2))


def run(parameters: list[torch.nn.Parameter], optimizer: Any, gradients: list[list[torch.Tensor]]) -> None:
    for each in gradients:
        for p, gradient in zip(parameters, each, strict=True):
            p.grad = gradient.clone()
        optimizer.step()


def drawn(
    steps: int, dtype: torch.dtype = torch.float64, shapes: Any = SHAPES
) -> tuple[list[torch.nn.Parameter], list[list[torch.Tensor]]]:
    parameters = [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in shapes]
    return parameters, [[torch.randn(shape, dtype=dtype) for shape in shapes] for _ in range(steps)]


def copied(parameters: list[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(p.detach().clone()) for p in parameters]


def similarity(skip: Any, out: Any, hidden: Any, u: Any) -> Any:
    """The paper's inner objective: the trace of what the memory says of the rows of u."""
    return torch.trace(skip @ u.T + out @ torch.tanh(hidden @ u.T))


def equation_50(
    weight: np.ndarray,
    start: np.ndarray,
    gradients: list[np.ndarray],
    *,
    lr: float,
    decay: float,
    a: float,
    rate: float,
) -> np.ndarray:
    shape = weight.shape
    weight = weight.reshape(shape[0] if shape else 1, -1)
    skip, out, hidden = np.zeros_like(weight), np.zeros((len(weight), len(start))), start
    for gradient in gradients:
        u = gradient.reshape(weight.shape)
        tensors = [torch.tensor(each, requires_grad=True) for each in (skip, out, hidden)]
        slopes = torch.autograd.grad(similarity(*tensors, torch.tensor(u)), tensors)
        skip, out = a * skip - rate * slopes[0].numpy(), a * out - rate * slopes[1].numpy()
        hidden = start + a * (hidden - start) - rate * slopes[2].numpy()
        weight = weight * (1 - lr * decay) + lr * (skip + out @ np.tanh(hidden))
    return weight.reshape(shape)


def test_it_is_equation_50_of_the_paper_with_gradients_of_the_memory_by_autograd() -> None:
    """In float64 to 1e-10: six steps of sums of a few terms, in another order."""
    parameters, gradients = drawn(6)
    before = [p.detach().clone().numpy() for p in parameters]
    optimizer = DeepMomentum(parameters, lr=0.1, weight_decay=0.2, momentum=0.8, hidden=7, memory_rate=0.5)
    run(parameters, optimizer, gradients)
    for at, (p, weight) in enumerate(zip(parameters, before, strict=True)):
        start = optimizer.state[p]["start"].numpy()
        assert start.shape[0] == 7
        assert start.any()
        expected = equation_50(
            weight, start, [each[at].numpy() for each in gradients], lr=0.1, decay=0.2, a=0.8, rate=0.5
        )  # fmt: skip
        assert np.allclose(p.detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_without_a_hidden_layer_it_is_momentum() -> None:
    """Equation 33; torch's SGD adds the same numbers with their signs turned."""
    parameters, gradients = drawn(5)
    others = copied(parameters)
    run(parameters, DeepMomentum(parameters, lr=0.1, hidden=0, momentum=0.9), gradients)
    run(others, torch.optim.SGD(others, lr=0.1, momentum=0.9), gradients)
    for p, other in zip(parameters, others, strict=True):
        assert torch.allclose(p, other, rtol=1e-12)


def test_a_hidden_layer_changes_what_is_learnt_and_not_by_a_linear_map() -> None:
    found, (before, gradients) = [], drawn(3, shapes=SHAPES[:2])
    for scale in (1.0, 3.0):
        parameters = copied(before)
        optimizer = DeepMomentum(parameters, lr=0.1, hidden=16)
        run(parameters, optimizer, [[each * scale for each in step] for step in gradients])
        found.append([p.detach() - b.detach() for p, b in zip(parameters, before, strict=True)])
    for small, large in zip(*found, strict=True):
        assert not torch.allclose(small * 3, large, rtol=0.05)


def test_orthogonalised_linear_memory_is_muon() -> None:
    """Equation 42: Muon without Nesterov's step, whose momentum here is the memory, over two steps."""
    (p,), gradients = drawn(2, shapes=((5, 3),))
    expected, momentum = p.detach().clone(), torch.zeros_like(p)
    run([p], DeepMomentum([p], lr=0.1, hidden=0, momentum=0.9, output="newton_schulz"), gradients)
    for (gradient,) in gradients:
        momentum = 0.9 * momentum + gradient
        expected -= 0.1 * adamw_scale(momentum) * newton_schulz(momentum, 5)
    assert torch.allclose(p, expected, rtol=1e-12)


@pytest.mark.parametrize("output", ["linear", "newton_schulz"])
def test_a_resume_goes_on_bit_for_bit(output: Any) -> None:
    parameters, gradients = drawn(6, torch.float32)
    optimizer = DeepMomentum(parameters, lr=0.1, output=output)
    run(parameters, optimizer, gradients[:3])
    others = copied(parameters)
    resumed = DeepMomentum(others, lr=0.1, output=output)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(parameters, optimizer, gradients[3:])
    run(others, resumed, gradients[3:])
    assert all(map(torch.equal, parameters, others))


def test_the_memory_is_drawn_beside_the_draws_of_the_run() -> None:
    parameters, gradients = drawn(1)
    before = torch.get_rng_state()
    run(parameters, DeepMomentum(parameters, lr=0.1), gradients)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [{"momentum": 1.5}, {"memory_rate": 0.0}, {"hidden": -1}, {"ns_steps": 0}])
def test_what_is_not_allowed_is_told_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"{name}: got .*; allowed: "):
        DeepMomentum([torch.nn.Parameter(torch.zeros(1))], **wrong)
