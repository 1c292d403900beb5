"""Batch normalisation over the rows of two processes, of which the other has the same rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from jenga.errors import ConfigError
from jenga.processes import Processes
from jenga.trainer.norms import join_norms


@pytest.fixture(autouse=True)
def _doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.nn.functional.all_reduce", lambda sums: 2 * sums)


@pytest.mark.parametrize(("kind", "shape"), [(torch.nn.BatchNorm1d, (6, 3)), (torch.nn.BatchNorm2d, (4, 3, 2, 5))])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_it_is_that_of_the_rows_of_both(kind: Any, shape: tuple[int, ...], momentum: float | None) -> None:
    torch.manual_seed(0)
    alone, joined = kind(3, momentum=momentum), kind(3, momentum=momentum)
    join_norms(torch.nn.Sequential(joined), Processes(0, 2), lambda: 8)
    for step in range(2):
        hidden = (torch.randn(shape) + step).requires_grad_()
        both = torch.cat([hidden.detach(), hidden.detach()]).requires_grad_()
        weights = torch.randn(shape)
        said, wanted = joined(hidden), alone(both)
        torch.testing.assert_close(said, wanted[: len(hidden)], rtol=1e-5, atol=1e-6)  # float32 against float64 sums
        (said * weights).sum().backward()
        (wanted * torch.cat([weights, weights])).sum().backward()
        assert hidden.grad is not None
        assert both.grad is not None
        torch.testing.assert_close(hidden.grad, both.grad[: len(hidden)], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(2 * joined.weight.grad, alone.weight.grad, rtol=1e-4, atol=1e-5)
    for own, other in zip(joined.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)
    joined.eval()
    alone.eval()
    torch.testing.assert_close(joined(hidden), alone(hidden), rtol=1e-5, atol=1e-6)


def test_a_column_that_is_large_and_hardly_changes_stays_finite() -> None:
    joined = torch.nn.BatchNorm1d(1)
    join_norms(torch.nn.Sequential(joined), Processes(0, 2), lambda: 8)
    for large in (3.5e5, 1e7, 1e8):
        assert joined(torch.full((997, 1), large)).isfinite().all()


def test_a_batch_with_too_few_rows_is_told_before_the_first() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    with pytest.raises(ConfigError, match=r"one of the batches has 1 rows, and .* in 2 processes needs one for each"):
        join_norms(network, Processes(0, 2), lambda: 1)
    join_norms(network, Processes(), lambda: 1)
    join_norms(torch.nn.Sequential(torch.nn.Linear(2, 2)), Processes(0, 2), lambda: 1)
