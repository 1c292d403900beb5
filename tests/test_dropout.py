"""Dropout zeroes the share it is told to, keeps the mean, and is PyTorch's where nothing is drawn."""

from __future__ import annotations

import pytest
import torch

from jenga.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_the_rate_is_kept_and_what_stays_is_scaled_to_the_same_mean(rate: float) -> None:
    n = 400_000
    made = Dropout(rate)(torch.ones(n))
    kept = made != 0
    # Five standard deviations of a binomial share.
    assert abs(kept.double().mean().item() - (1 - rate)) < 5 * (rate * (1 - rate) / n) ** 0.5
    # The rate is rounded to a multiple of 1/65,536.
    torch.testing.assert_close(made[kept], torch.full_like(made[kept], 1 / (1 - rate)), rtol=1e-4, atol=0)
    assert made[kept].unique().numel() == 1


def test_each_element_is_dropped_by_itself() -> None:
    kept = (Dropout(0.5)(torch.ones(4000, 64)) != 0).double()
    # Off the diagonal the covariance of two columns is 0, give or take 0.25 / sqrt(4000) = 0.004; 2,016 pairs.
    covariance = torch.cov(kept.T) - torch.diag(torch.full((64,), 0.25, dtype=torch.float64))
    assert covariance.abs().max() < 6 * 0.004


@pytest.mark.parametrize("shape", [(), (3,), (5, 7), (0, 4), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_and_dtype_stay_and_the_gradient_is_the_mask(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    hidden = torch.ones(shape, dtype=dtype, requires_grad=True)
    made = Dropout(0.3)(hidden)
    made.sum().backward()
    assert made.shape == shape
    assert made.dtype == dtype
    assert torch.equal(hidden.grad, made)


def test_one_seed_gives_one_mask_whatever_the_threads() -> None:
    masks = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(3)
        masks.append(Dropout(0.4)(torch.ones(100_001)))
    torch.set_num_threads(before)
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], Dropout(0.4)(torch.ones(100_001)))


def test_evaluation_and_a_rate_of_nothing_change_nothing_and_a_rate_of_one_drops_all() -> None:
    hidden = torch.randn(10, 3)
    assert torch.equal(Dropout(0.5).eval()(hidden), hidden)
    assert torch.equal(Dropout(0.0)(hidden), hidden)
    assert not Dropout(1.0)(hidden).any()


def test_it_compiles_into_one_graph() -> None:
    torch.manual_seed(0)
    made = torch.compile(Dropout(0.5), fullgraph=True, backend="eager")(torch.ones(1000))
    assert 400 < int((made == 0).sum()) < 600


def test_nothing_is_done_outside_of_training() -> None:
    hidden = torch.ones(3)
    assert Dropout(0.5).eval()(hidden) is hidden
