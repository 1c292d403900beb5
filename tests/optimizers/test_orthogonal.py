"""Orthogonalised matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jenga.optimizers.orthogonal import adamw_scale, as_matrix, newton_schulz


@pytest.mark.parametrize("shape", [(6, 6), (5, 40), (40, 5), (7, 1)])
def test_singular_values_become_about_one_in_the_same_directions(shape: tuple[int, int]) -> None:
    """Muon's five steps bring values from 0.02 of the norm to between 0.5 and 1.3, by its coefficients."""
    left, _, right = np.linalg.svd(torch.randn(shape).double().numpy(), full_matrices=False)
    values = np.linspace(1.0, 0.1, min(shape))
    found = newton_schulz(torch.from_numpy(left * values @ right), 5).numpy()
    assert found.shape == shape
    projected = left.T @ found @ right.T
    assert np.allclose(projected, np.diag(np.diag(projected)), atol=1e-12)
    assert ((np.diag(projected) > 0.5) & (np.diag(projected) < 1.3)).all()


def test_it_is_torchs_muon_but_for_its_half_precision() -> None:
    """torch's runs in bfloat16, whose epsilon is 2^-8, over five steps of a few terms."""
    matrix = torch.randn(12, 8)
    theirs = torch.optim._muon._zeropower_via_newtonschulz(matrix, (3.4445, -4.7750, 2.0315), 5, 1e-7)
    assert torch.allclose(newton_schulz(matrix, 5), theirs.float(), atol=0.1)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_does_not_matter_and_zero_stays_zero(scale: float) -> None:
    matrix = torch.randn(4, 3, dtype=torch.float64)
    assert torch.allclose(newton_schulz(matrix * scale, 5), newton_schulz(matrix, 5), rtol=1e-9)
    assert torch.equal(newton_schulz(torch.zeros(4, 3), 5), torch.zeros(4, 3))


@pytest.mark.parametrize(("dtype", "found"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_it_is_computed_in_single_precision_at_least(dtype: torch.dtype, found: torch.dtype) -> None:
    assert newton_schulz(torch.ones(2, 2, dtype=dtype), 5).dtype == found


@pytest.mark.parametrize(("shape", "matrix"), [((), (1, 1)), ((4,), (4, 1)), ((4, 2), (4, 2)), ((4, 3, 2), (4, 6))])
def test_whatever_has_dimensions_is_a_matrix(shape: tuple[int, ...], matrix: tuple[int, int]) -> None:
    assert as_matrix(torch.zeros(shape)).shape == matrix


def test_a_scaled_direction_changes_weights_by_about_a_fifth_on_average() -> None:
    """As AdamW's does: the root of the mean square of an orthogonal (n, d) is 1 / sqrt(max(n, d))."""
    matrix = torch.randn(30, 10)
    found = newton_schulz(matrix, 5) * adamw_scale(matrix)
    assert 0.15 < float(found.square().mean().sqrt()) < 0.25
