"""A-GEM: what a step's gradient loses for the memory's sake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from launches import compared, run_of, start, without_dropout

from jenga.continual.agem import Agem, project
from jenga.errors import SetupError
from jenga.processes import Processes
from jenga.run.experiment import train


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


def test_batch_normalisation_is_refused_where_processes_share_the_memory() -> None:
    place: Any = SimpleNamespace(stages=[], seed=0)
    agem = Agem(place, memory=4, keep="balanced", rows_per_step=2)
    plain, normed = torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)
    agem.on_train_begin(SimpleNamespace(processes=Processes(0, 2), model=plain))
    agem.on_train_begin(SimpleNamespace(processes=Processes(), model=normed))
    with pytest.raises(SetupError, match=r"continual\.agem: batch normalisation needs rows of the memory in every"):
        agem.on_train_begin(SimpleNamespace(processes=Processes(0, 2), model=normed))


@pytest.mark.slow
def test_processes_share_the_memory_and_make_the_run_of_one(
    staged: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Three rows of the memory a step, of which one of four processes has none."""
    content = without_dropout(staged(continual={"agem": {"memory": 12, "rows_per_step": 3}}))
    content["model"]["dropout"] = 0.0
    alone, folder = train(content, device="cpu").run, tmp_path / "four"
    assert start(content, folder, "--processes", "4").wait(timeout=300) == 0, (folder / "told").read_text()
    compared(alone, run_of(folder))
    assert (run_of(folder) / "continual.json").read_text() == (alone / "continual.json").read_text()
