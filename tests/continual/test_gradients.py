"""The gradient of a loss beside the step that is being taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from jenga.continual.gradients import loss_gradients
from jenga.run.build import build
from jenga.run.experiment import load_config


@contextmanager
def once() -> Iterator[None]:
    """A context that is made anew for each use, as accelerate's is."""
    yield


@pytest.mark.parametrize(("size", "scale"), [(20, 1.0), (3, 1.0), (3, 1024.0)])
def test_it_is_that_of_the_mean_loss_and_leaves_no_trace(
    staged: Callable[..., dict[str, Any]], tmp_path: Path, size: int, scale: float
) -> None:
    settings = staged()
    settings["tasks"][0]["dropout"] = 0.0
    experiment = build(load_config(settings), tmp_path)
    model, (source,) = experiment.bundle.model, experiment.sources
    parameters, rows, split = list(model.parameters()), [7, 1, 30, 2, 9, 40, 11], source.splits["train"]
    for p in parameters:
        p.grad = torch.ones_like(p)
    found = loss_gradients(
        model, parameters, split, rows, ["go"],
        device=torch.device("cpu"), autocast=once, size=size, scale=scale,
    )  # fmt: skip
    batch = split.batch(rows)
    loss = F.cross_entropy(model(batch.inputs, ["go"])["go"].logits["way"], batch.labels["go"]["way"])
    for grad, wanted in zip(found, torch.autograd.grad(loss, parameters), strict=True):
        assert grad is not None
        torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-7)  # float32 sums over other pieces
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in parameters if p.grad is not None)


def test_what_the_loss_does_not_reach_has_none(two_tasks: dict[str, Any], tmp_path: Path) -> None:
    experiment = build(load_config(two_tasks), tmp_path)
    model, (source,) = experiment.bundle.model, experiment.sources
    named = dict(model.named_parameters())
    found = loss_gradients(
        model, list(named.values()), source.splits["train"], [0, 1], ["look"],
        device=torch.device("cpu"), autocast=once, size=8,
    )  # fmt: skip
    without = {name for name, grad in zip(named, found, strict=True) if grad is None}
    assert without == {name for name in named if name.startswith("tasks.go.")}
