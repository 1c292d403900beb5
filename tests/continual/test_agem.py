"""A-GEM: what a step's gradient loses for the memory's sake."""

from __future__ import annotations

import torch

from jenga.continual.agem import project


def parameters(*grads: list[float] | None) -> list[torch.nn.Parameter]:
    found = []
    for grad in grads:
        p = torch.nn.Parameter(torch.zeros(2))
        p.grad = None if grad is None else torch.tensor(grad)
        found.append(p)
    return found


def grads(given: list[torch.nn.Parameter]) -> list[list[float] | None]:
    return [None if p.grad is None else p.grad.tolist() for p in given]


def test_a_gradient_that_does_not_go_against_the_memory_stays_as_it_is() -> None:
    given = parameters([1.0, 2.0], [-1.0, 0.0])
    project(given, [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])])
    assert grads(given) == [[1.0, 2.0], [-1.0, 0.0]]


def test_one_that_does_is_projected_over_all_parameters_together() -> None:
    generator = torch.Generator().manual_seed(0)
    g, r = (torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(2))
    r = r if g @ r < 0 else -r
    given = parameters(g[:2].tolist(), g[2:].tolist())
    project(given, [r[:2].float(), r[2:].float()])
    found = torch.cat([p.grad.double() for p in given if p.grad is not None])
    torch.testing.assert_close(found, g - (g @ r) / (r @ r) * r, rtol=0, atol=1e-6)  # float32 in and out
    assert abs(float(found @ r)) < 1e-6


def test_parameters_that_only_one_of_the_two_reaches_are_part_of_it() -> None:
    given = parameters([-1.0, 0.0], None, [5.0, 0.0])
    project(given, [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]), None])
    # g.r = -1, r.r = 2
    assert grads(given) == [[-0.5, 0.0], [0.5, 0.0], [5.0, 0.0]]


def test_where_half_precision_overflowed_the_gradient_stays_as_it_is() -> None:
    for bad in (float("inf"), float("nan")):
        given = parameters([-1.0, 1.0])
        project(given, [torch.tensor([1.0, bad])])
        assert grads(given) == [[-1.0, 1.0]]
    given = parameters([float("-inf"), 0.0], [-1.0, 0.0])
    project(given, [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])])
    assert grads(given) == [[float("-inf"), 0.0], [-1.0, 0.0]]
